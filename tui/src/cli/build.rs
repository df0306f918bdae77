//! Which build this is, so that a front end replaces a daemon of another one.

use std::os::unix::fs::MetadataExt;

/// `VERSION+SIZE.TIME` of the running executable: a rebuilt or updated binary has another one.
pub(crate) fn id() -> String {
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
    fn the_same_file_is_the_same_build() {
        assert_eq!(super::id(), super::id());
        assert!(super::id().starts_with(concat!(env!("CARGO_PKG_VERSION"), "+")));
        assert!(!super::id().ends_with("unknown"));
    }
}
