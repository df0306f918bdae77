//! Readings of a Linux system; elsewhere, and where a file is missing or makes no sense, the reading is `None` and the
//! policy counts it as busy. Every reader takes the root folder, so that tests shape their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::policy::Power;

/// Below this share of free memory it counts as short, where the kernel does not tell its pressure.
const LITTLE_FREE: f64 = 0.1;

/// What could be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readings {
    /// See [`super::Snapshot`].
    pub user: Option<Duration>,
    /// See [`super::Snapshot`], with the trainer.
    pub load_per_core: Option<f64>,
    /// See [`super::Snapshot`].
    pub memory_pressure: Option<f64>,
    /// See [`super::Snapshot`].
    pub power: Power,
}

impl Readings {
    /// Nothing could be read.
    pub const NONE: Self =
        Self { user: None, load_per_core: None, memory_pressure: None, power: Power::Unreadable };
}

/// Reads the system below `root` (`/`). `display`: the daemon's environment names a display; `desktop` tells how long
/// graphical sessions have been left alone, and is asked only where there may be one.
#[must_use]
pub fn read(
    root: &Path,
    display: bool,
    desktop: impl FnOnce() -> Option<Duration>,
    now: SystemTime,
) -> Readings {
    Readings {
        user: user(root, display, desktop, now),
        load_per_core: load(root),
        memory_pressure: pressure(root),
        power: power(root),
    }
}

fn text(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok()
}

fn load(root: &Path) -> Option<f64> {
    let load: f64 = text(root, "proc/loadavg")?.split(' ').next()?.parse().ok()?;
    let cores = text(root, "proc/cpuinfo")?.lines().filter(|l| l.starts_with("processor")).count();
    (cores > 0 && load.is_finite() && load >= 0.0).then(|| load / cores as f64)
}

/// `some avg10` of the kernel's pressure, or where it tells none, 0 or 1 by the memory that is free.
fn pressure(root: &Path) -> Option<f64> {
    if let Some(pressure) = text(root, "proc/pressure/memory") {
        let some = pressure.lines().find_map(|l| l.strip_prefix("some "))?;
        let percent: f64 = some.split(' ').find_map(|w| w.strip_prefix("avg10="))?.parse().ok()?;
        return Some(percent / 100.0);
    }
    let meminfo = text(root, "proc/meminfo")?;
    let of = |name: &str| -> Option<f64> {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (total, free) = (of("MemTotal:")?, of("MemAvailable:")?);
    (total > 0.0).then(|| f64::from(u8::from(free / total < LITTLE_FREE)))
}

/// A supply that is on line is the mains; without any battery there is nothing to spare.
fn power(root: &Path) -> Power {
    let folder = root.join("sys/class/power_supply");
    let Ok(entries) = fs::read_dir(&folder) else {
        return if root.join("sys/class").is_dir() { Power::Mains } else { Power::Unreadable };
    };
    let (mut battery, mut discharging) = (false, false);
    for supply in entries.flatten().map(|e| e.path()) {
        let word = |name: &str| fs::read_to_string(supply.join(name)).ok().map(|t| t.trim().to_owned());
        match (word("type").as_deref(), word("scope").as_deref()) {
            // The battery of a mouse says nothing of the machine.
            (_, Some("Device")) => {}
            (Some("Mains" | "USB" | "Wireless"), _) if word("online").as_deref() == Some("1") => {
                return Power::Mains;
            }
            (Some("Battery"), _) => {
                battery = true;
                discharging |= word("status").as_deref() != Some("Full");
            }
            _ => {}
        }
    }
    if battery && discharging { Power::Battery } else { Power::Mains }
}

/// Time since the last input of a terminal, or at a graphical session, whose devices keep no time of their last use;
/// without either nobody is there.
fn user(
    root: &Path,
    display: bool,
    desktop: impl FnOnce() -> Option<Duration>,
    now: SystemTime,
) -> Option<Duration> {
    let sockets = |folder: &str, start: &str| !files(root, folder, |name| name.starts_with(start)).is_empty();
    let people = files(root, "run/user", |_| true);
    let wayland =
        people.iter().any(|folder| !files(folder, "", |name| name.starts_with("wayland-")).is_empty());
    let graphical = display || wayland || sockets("tmp/.X11-unix", "X");
    let mut last = if graphical { desktop()? } else { Duration::MAX };
    let digits = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_digit());
    let terminals = files(root, "dev/pts", digits);
    let consoles = files(root, "dev", |name| name.strip_prefix("tty").is_some_and(digits));
    for path in terminals.iter().chain(&consoles) {
        let read = fs::metadata(path).and_then(|m| m.accessed()).ok()?;
        last = last.min(now.duration_since(read).unwrap_or_default());
    }
    Some(last)
}

fn files(root: &Path, folder: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_str().is_some_and(&wanted)).map(|e| e.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn readings(files: &[(&str, &str)]) -> Readings {
        read(root(files).path(), false, || None, SystemTime::now())
    }

    #[test]
    fn load_is_divided_by_the_cores() {
        let cores = "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n";
        let found = readings(&[("proc/loadavg", "3.00 1.0 0.5 1/99 1\n"), ("proc/cpuinfo", cores)]);
        assert_eq!(found.load_per_core, Some(1.5));
        assert_eq!(readings(&[("proc/loadavg", "nonsense"), ("proc/cpuinfo", cores)]).load_per_core, None);
        assert_eq!(readings(&[]).load_per_core, None);
    }

    #[test]
    fn memory_by_pressure_or_by_what_is_free() {
        let pressure = "some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull avg10=0.00 avg60=0.00\n";
        assert_eq!(readings(&[("proc/pressure/memory", pressure)]).memory_pressure, Some(0.125));
        let info = |free: u32| format!("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  {free} kB\n");
        assert_eq!(readings(&[("proc/meminfo", &info(500))]).memory_pressure, Some(0.0));
        assert_eq!(readings(&[("proc/meminfo", &info(50))]).memory_pressure, Some(1.0));
        assert_eq!(readings(&[("proc/pressure/memory", "garbage")]).memory_pressure, None);
        assert_eq!(readings(&[]).memory_pressure, None);
    }

    #[test]
    fn power_by_supplies() {
        let supply = |rows: &[(&str, &str, &str)]| {
            let files: Vec<(String, &str)> = rows
                .iter()
                .map(|(name, file, word)| (format!("sys/class/power_supply/{name}/{file}"), *word))
                .collect();
            let files: Vec<(&str, &str)> = files.iter().map(|(path, word)| (path.as_str(), *word)).collect();
            readings(&files).power
        };
        let battery = [("BAT0", "type", "Battery\n"), ("BAT0", "status", "Discharging\n")];
        assert_eq!(supply(&battery), Power::Battery);
        assert_eq!(
            supply(&[battery[0], battery[1], ("AC", "type", "Mains\n"), ("AC", "online", "1\n")]),
            Power::Mains
        );
        assert_eq!(
            supply(&[battery[0], battery[1], ("AC", "type", "Mains\n"), ("AC", "online", "0\n")]),
            Power::Battery
        );
        assert_eq!(supply(&[battery[0], battery[1], ("BAT0", "scope", "Device\n")]), Power::Mains);
        assert_eq!(readings(&[("sys/class/net/x", "")]).power, Power::Mains);
        assert_eq!(readings(&[]).power, Power::Unreadable);
    }

    #[test]
    fn a_person_is_seen_by_terminals_and_by_what_a_desktop_tells() {
        let later = SystemTime::now() + Duration::from_secs(600);
        let with = |files: &[(&str, &str)], display, desktop: Option<Duration>| {
            read(root(files).path(), display, || desktop, later).user
        };
        let idle = |files: &[(&str, &str)], display| with(files, display, None);
        assert_eq!(idle(&[], false), Some(Duration::MAX), "nobody is logged in");
        let near = |found: Option<Duration>| found.is_some_and(|d| d.as_secs().abs_diff(600) < 60);
        assert!(near(idle(&[("dev/pts/0", ""), ("dev/pts/ptmx", "")], false)));
        assert!(near(idle(&[("dev/tty1", "")], false)));
        assert_eq!(idle(&[("dev/pts/0", "")], true), None);
        assert_eq!(idle(&[("tmp/.X11-unix/X0", "")], false), None);
        assert_eq!(idle(&[("run/user/1000/wayland-0", "")], false), None);
        // A desktop that tells; a terminal that was used later counts more.
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(with(&[], true, day), day);
        assert!(near(with(&[("dev/pts/0", "")], true, day)));
        assert_eq!(with(&[("dev/pts/0", "")], true, Some(Duration::ZERO)), Some(Duration::ZERO));
    }
}
