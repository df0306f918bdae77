//! Which build this is, so that a front end replaces a daemon of another one.

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// `VERSION+SIZE.TIME` of the executable as it was at the first call: a rebuilt or updated binary has another one.
pub(crate) fn id() -> String {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(read).clone()
}

/// Whether build `theirs` was made after `ours`. Only a newer front end replaces a daemon: two windows of different
/// builds would otherwise stop each other's for ever.
pub(crate) fn newer(theirs: &str, ours: &str) -> bool {
    matches!((made(theirs), made(ours)), (Some(theirs), Some(ours)) if theirs > ours)
}

/// Seconds and nanoseconds of a build's time.
fn made(id: &str) -> Option<(u64, u64)> {
    let mut parts = id.split_once('+')?.1.split('.').skip(1);
    let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
    Some((number()?, number()?))
}

fn read() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let found = std::env::current_exe().and_then(std::fs::metadata);
    found.map_or_else(
        |_| format!("{version}+unknown"),
        |file| format!("{version}+{:x}.{:x}.{:x}", file.len(), file.mtime(), file.mtime_nsec()),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_newer_of_two_builds_is_known() {
        assert!(
            super::newer("0.1.0+a.6b.2", "0.1.0+ff.6b.1") && super::newer("0.1.0+a.6c.0", "0.1.0+a.6b.f")
        );
        assert!(
            !super::newer("0.1.0+a.6b.1", "0.1.0+b.6b.1") && !super::newer("0.1.0+a.6a.9", "0.1.0+a.6b.1")
        );
        assert!(!super::newer("0.1.0+unknown", "0.1.0+a.6b.1") && !super::newer("0.1.0+a.6b.1", "nonsense"));
    }

    #[test]
    fn the_same_file_is_the_same_build() {
        assert_eq!(super::id(), super::id());
        assert!(super::id().starts_with(concat!(env!("CARGO_PKG_VERSION"), "+")));
        assert!(!super::id().ends_with("unknown"));
    }
}
