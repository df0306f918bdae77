//! Who may come in: the allow-list and the invitations, as files that `aside cloud invite` (another process) shares.

use super::private_file::{make_dir, write};
use super::serve::ServiceError;
use aside_cloud_api::identity::{Identity, PublicKey};
use aside_cloud_api::link::server::Admission;
use aside_cloud_api::uri::{Secret, Uri};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The files of one cloud.
#[derive(Debug, Clone)]
pub(super) struct Files {
    dir: PathBuf,
}

/// An invitation as it is stored: never the secret itself.
#[derive(Serialize, Deserialize)]
struct Invitation {
    sha256: String,
    expires: u64,
}

impl Files {
    pub(super) fn open(dir: &Path) -> Result<Self, ServiceError> {
        make_dir(dir).map_err(|e| ServiceError::file(dir, &e))?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The cloud's identity; made at the first call.
    pub(super) fn identity(&self) -> Result<Identity, ServiceError> {
        let path = self.path("identity.pk8");
        match fs::read(&path) {
            Ok(bytes) => Identity::from_pkcs8(&bytes).map_err(|e| ServiceError::file(&path, &e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let identity = Identity::generate().map_err(|e| ServiceError::file(&path, &e))?;
                write(&path, identity.to_pkcs8()).map_err(|e| ServiceError::file(&path, &e))?;
                Ok(identity)
            }
            Err(e) => Err(ServiceError::file(&path, &e)),
        }
    }

    /// Remembers where this cloud was served last, for invitations.
    pub(super) fn remember(&self, uri: &Uri) -> Result<(), ServiceError> {
        let path = self.path("uri");
        write(&path, uri.to_string().as_bytes()).map_err(|e| ServiceError::file(&path, &e))
    }

    /// Empty where there is no list yet; one that cannot be read is an error, lest it be written over.
    fn keys(&self) -> std::io::Result<Vec<PublicKey>> {
        let text = read(&self.path("allowed"))?;
        Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| line.trim().parse().ok()).collect())
    }

    fn invitations(&self) -> std::io::Result<Vec<Invitation>> {
        let bytes = read(&self.path("invitations.json"))?;
        let all: Vec<Invitation> =
            if bytes.is_empty() { Vec::new() } else { serde_json::from_slice(&bytes)? };
        Ok(all.into_iter().filter(|i| i.expires > now()).collect())
    }

    fn put_invitations(&self, all: &[Invitation]) -> std::io::Result<()> {
        write(&self.path("invitations.json"), &serde_json::to_vec(all)?)
    }

    /// Held while a list is read and written again; both processes take it.
    fn lock(&self) -> std::io::Result<File> {
        let file =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(self.path("lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn use_up(&self, key: &PublicKey, secret: &[u8]) -> std::io::Result<bool> {
        let _lock = self.lock()?;
        let mut all = self.invitations()?;
        let wanted = hash(secret);
        let before = all.len();
        all.retain(|i| i.sha256 != wanted);
        if all.len() == before {
            return Ok(false);
        }
        let mut keys = self.keys()?;
        keys.push(*key);
        let text: String = keys.iter().map(|k| format!("{k}\n")).collect();
        // Used up first: a crash in between costs an invitation and never admits two.
        self.put_invitations(&all)?;
        write(&self.path("allowed"), text.as_bytes())?;
        Ok(true)
    }
}

/// The allow-list of the files and of the command line.
pub(super) struct Gatekeeper {
    pub(super) files: Files,
    pub(super) also: Vec<PublicKey>,
}

impl Admission for Gatekeeper {
    fn allowed(&self, key: &PublicKey) -> bool {
        let listed =
            self.files.keys().inspect_err(|error| tracing::error!(%error, "the allow-list cannot be read"));
        self.also.contains(key) || listed.is_ok_and(|keys| keys.contains(key))
    }

    fn enroll(&self, key: &PublicKey, secret: &[u8]) -> bool {
        let admitted = self.files.use_up(key, secret);
        match &admitted {
            Ok(true) => tracing::info!(client = key.hash_hex(), "a client is enrolled"),
            Ok(false) => tracing::warn!(client = key.hash_hex(), "an unknown or used invitation"),
            Err(error) => tracing::error!(%error, "the lists of this cloud cannot be written"),
        }
        admitted.unwrap_or(false)
    }
}

/// Makes an invitation to the cloud that was last served from `state_dir`: its whole URI.
///
/// # Errors
/// [`ServiceError`] when no cloud was served from there, or a file cannot be written.
pub fn invite(state_dir: &Path, ttl: Duration) -> Result<Uri, ServiceError> {
    let files = Files { dir: state_dir.to_owned() };
    let path = files.path("uri");
    let text = fs::read_to_string(&path).map_err(|_| ServiceError::NeverServed)?;
    let uri: Uri = text.parse().map_err(|e| ServiceError::file(&path, &e))?;
    let mut secret = vec![0; 24];
    SystemRandom::new().fill(&mut secret).map_err(|_| ServiceError::Random)?;
    let written = files.lock().and_then(|_lock| {
        let mut all = files.invitations()?;
        all.push(Invitation { sha256: hash(&secret), expires: now().saturating_add(ttl.as_secs()) });
        files.put_invitations(&all)
    });
    written.map_err(|e| ServiceError::file(&files.path("invitations.json"), &e))?;
    Ok(Uri { secret: Some(Secret(secret)), ..uri })
}

/// A file's bytes, none where there is no file.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn hash(secret: &[u8]) -> String {
    digest(&SHA256, secret).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aside_cloud_api::link::Address;

    #[test]
    fn an_invitation_works_once_and_not_after_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(&dir.path().join("state")).unwrap();
        assert!(matches!(invite(&files.dir, Duration::from_secs(9)), Err(ServiceError::NeverServed)));
        let key = files.identity().unwrap().public();
        assert_eq!(files.identity().unwrap().public(), key);
        files.remember(&Uri { address: Address::Tcp("h".into(), 1), key, secret: None }).unwrap();

        let keeper = Gatekeeper { files: files.clone(), also: vec![] };
        let (a, b) = (Identity::generate().unwrap().public(), Identity::generate().unwrap().public());
        let uri = invite(&files.dir, Duration::from_secs(60)).unwrap();
        let secret = uri.secret.clone().unwrap().0;
        assert!(uri.to_string().starts_with("aside://h:1/"));
        assert!(!keeper.allowed(&a) && !keeper.enroll(&a, b"guess"));
        assert!(keeper.enroll(&a, &secret) && keeper.allowed(&a));
        assert!(!keeper.enroll(&b, &secret) && !keeper.allowed(&b));
        let late = invite(&files.dir, Duration::ZERO).unwrap().secret.unwrap().0;
        assert!(!keeper.enroll(&b, &late));
        for name in ["invitations.json", "allowed"] {
            let text = fs::read_to_string(files.path(name)).unwrap();
            assert!(!text.contains(&hash(&secret)));
        }
    }
}
