//! Whether somebody sits at a graphical session, as logind knows it: a desktop tells it when nobody has touched it for a
//! while, and when it locks the screen. One connection to the system bus, kept; any error ends it, and then it cannot be
//! told.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zbus::blocking::connection::Builder;
use zbus::blocking::proxy::Builder as ProxyBuilder;
use zbus::blocking::{Connection, Proxy};
use zbus::proxy::CacheProperties;
use zbus::zvariant::OwnedObjectPath;

const SERVICE: &str = "org.freedesktop.login1";
const MANAGER: &str = "/org/freedesktop/login1";
/// For one answer of the bus.
const PATIENCE: Duration = Duration::from_secs(2);

/// The sessions of this machine.
#[derive(Default)]
pub struct Logind(Mutex<Option<Connection>>);

/// What a session says of itself.
#[derive(Debug, Clone, PartialEq)]
struct Session {
    /// "x11", "wayland", "tty", ...
    kind: String,
    /// "user", "greeter", ...
    class: String,
    idle: bool,
    /// Since when, in microseconds since 1970; 0 when it is not idle.
    idle_since: u64,
    locked: bool,
}

impl Logind {
    /// How long all graphical sessions have been left alone; `None` where it cannot be told. It blocks, two seconds a call
    /// at most.
    #[must_use]
    pub fn away(&self, now: SystemTime) -> Option<Duration> {
        let mut kept = self.0.lock().ok()?;
        if kept.is_none() {
            *kept = Builder::system().ok()?.method_timeout(PATIENCE).build().ok();
        }
        let found = sessions(kept.as_ref()?);
        if found.is_err() {
            *kept = None;
        }
        away(&found.ok()?, now)
    }
}

fn proxy<'a>(bus: &Connection, path: &'a str, interface: &'a str) -> zbus::Result<Proxy<'a>> {
    let proxy = ProxyBuilder::new(bus).destination(SERVICE)?.path(path)?.interface(interface)?;
    proxy.cache_properties(CacheProperties::No).build()
}

fn sessions(bus: &Connection) -> zbus::Result<Vec<Session>> {
    type Row = (String, u32, String, String, OwnedObjectPath);
    let rows: Vec<Row> = proxy(bus, MANAGER, "org.freedesktop.login1.Manager")?.call("ListSessions", &())?;
    let read = |(_, _, _, _, path): &Row| {
        let session = proxy(bus, path.as_str(), "org.freedesktop.login1.Session")?;
        Ok(Session {
            kind: session.get_property("Type")?,
            class: session.get_property("Class")?,
            idle: session.get_property("IdleHint")?,
            idle_since: session.get_property("IdleSinceHint")?,
            locked: session.get_property("LockedHint")?,
        })
    };
    rows.iter().map(read).collect()
}

/// The shortest time that a person's graphical session has been left alone. A locked one is left; a desktop that never
/// tells looks used for ever. A login screen alone says nothing: somebody may have started a desktop by hand.
fn away(sessions: &[Session], now: SystemTime) -> Option<Duration> {
    let graphical = sessions.iter().filter(|s| matches!(s.kind.as_str(), "x11" | "wayland" | "mir"));
    let left = |session: &Session| {
        if session.locked {
            return Duration::MAX;
        }
        let since = UNIX_EPOCH + Duration::from_micros(session.idle_since);
        if session.idle { now.duration_since(since).unwrap_or_default() } else { Duration::ZERO }
    };
    graphical.filter(|s| s.class == "user").map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use zbus::interface;

    const NOW: u64 = 1_700_000_000;

    fn session(kind: &str, class: &str, idle_for: Option<u64>, locked: bool) -> Session {
        let idle_since = idle_for.map_or(0, |seconds| (NOW - seconds) * 1_000_000);
        Session { kind: kind.into(), class: class.into(), idle: idle_for.is_some(), idle_since, locked }
    }

    fn at(sessions: &[Session]) -> Option<Duration> {
        away(sessions, UNIX_EPOCH + Duration::from_secs(NOW))
    }

    #[test]
    fn the_session_that_was_used_last_counts() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[session("tty", "user", Some(500), false)]), None, "no graphical session");
        assert_eq!(at(&[session("wayland", "user", Some(400), false)]), seconds(400));
        let two = [session("x11", "user", Some(400), false), session("wayland", "user", None, false)];
        assert_eq!(at(&two), seconds(0));
        let locked = [session("wayland", "user", None, true), session("x11", "user", Some(90), false)];
        assert_eq!(at(&locked), seconds(90));
        assert_eq!(
            at(&[session("wayland", "greeter", Some(9), false)]),
            None,
            "a desktop by hand is no session"
        );
        // A clock that was set back makes nobody leave.
        let ahead = Session { idle_since: (NOW + 50) * 1_000_000, ..session("x11", "user", Some(1), false) };
        assert_eq!(at(&[ahead]), seconds(0));
    }

    struct Manager;

    #[interface(name = "org.freedesktop.login1.Manager")]
    impl Manager {
        fn list_sessions(&self) -> Vec<(String, u32, String, String, OwnedObjectPath)> {
            let path = |name: &str| OwnedObjectPath::try_from(format!("{MANAGER}/session/{name}")).unwrap();
            let row = |name: &str| (name.to_owned(), 1000, "ada".to_owned(), "seat0".to_owned(), path(name));
            vec![row("c1"), row("c2")]
        }
    }

    #[interface(name = "org.freedesktop.login1.Session")]
    impl Session {
        #[zbus(property, name = "Type")]
        fn kind(&self) -> String {
            self.kind.clone()
        }
        #[zbus(property)]
        fn class(&self) -> String {
            self.class.clone()
        }
        #[zbus(property)]
        fn idle_hint(&self) -> bool {
            self.idle
        }
        #[zbus(property)]
        fn idle_since_hint(&self) -> u64 {
            self.idle_since
        }
        #[zbus(property)]
        fn locked_hint(&self) -> bool {
            self.locked
        }
    }

    #[test]
    fn sessions_are_read_over_the_bus_protocol() {
        let said = [session("wayland", "user", Some(400), false), session("tty", "user", None, false)];
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serve = said.clone();
        let server = std::thread::spawn(move || {
            let [first, second] = serve;
            let builder = Builder::async_io_unix_stream(theirs).server(zbus::Guid::generate()).unwrap().p2p();
            let builder = builder.serve_at(MANAGER, Manager).unwrap();
            let builder = builder.serve_at(format!("{MANAGER}/session/c1"), first).unwrap();
            builder.serve_at(format!("{MANAGER}/session/c2"), second).unwrap().build().unwrap()
        });
        let client = Builder::async_io_unix_stream(ours).p2p().build().unwrap();
        let server = server.join().unwrap();
        assert_eq!(sessions(&client).unwrap(), said);
        drop(server);
        assert!(sessions(&client).is_err());
    }
}
