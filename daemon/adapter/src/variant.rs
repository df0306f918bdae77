//! The five variants of method, section 2: one enum, one code path.

use std::fmt;
use std::str::FromStr;

/// Who decides an open position, and which positions are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Every position closed: the backbone alone.
    Base,
    /// Every position open, the head sees g alone (serial ladder side-tuning).
    Lst,
    /// Every position open, the head sees z + g.
    FullIntegration,
    /// The gate decides; at open positions the head sees g alone.
    FullSeparation,
    /// The gate decides; at open positions the head sees z + g.
    Spa,
}

/// Every variant, in the paper's order.
pub(crate) const ALL: [Variant; 5] =
    [Variant::Base, Variant::Lst, Variant::FullIntegration, Variant::FullSeparation, Variant::Spa];

impl Variant {
    /// The word used on the command line, in the vault and on screen.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Lst => "lst",
            Self::FullIntegration => "full-integration",
            Self::FullSeparation => "full-separation",
            Self::Spa => "spa",
        }
    }

    /// Whether a gate decides which positions are open.
    #[must_use]
    pub fn gated(self) -> bool {
        matches!(self, Self::FullSeparation | Self::Spa)
    }

    /// Whether z takes part in the hidden state of an open position.
    #[must_use]
    pub fn integrates(self) -> bool {
        matches!(self, Self::FullIntegration | Self::Spa)
    }

    /// Whether personal memory takes part at its open positions (method, section 8).
    #[must_use]
    pub fn remembers(self) -> bool {
        matches!(self, Self::FullIntegration | Self::Spa)
    }

    /// Whether weights trained for `trained` serve this variant (method, section 8: base, full integration and spa
    /// share weights; the others need their own).
    #[must_use]
    pub fn served_by(self, trained: Self) -> bool {
        self == Self::Base || self == trained || (self.integrates() && trained.integrates())
    }

    pub(crate) fn code(self) -> u64 {
        ALL.iter().position(|v| *v == self).unwrap_or(0) as u64
    }

    pub(crate) fn from_code(code: u64) -> Option<Self> {
        ALL.get(usize::try_from(code).ok()?).copied()
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        ALL.into_iter().find(|v| v.as_str() == word).ok_or_else(|| {
            let words: Vec<&str> = ALL.iter().map(|v| v.as_str()).collect();
            format!("no variant of that name; there are {}", words.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_codes_come_back() {
        for variant in ALL {
            assert_eq!(variant.as_str().parse(), Ok(variant));
            assert_eq!(Variant::from_code(variant.code()), Some(variant));
        }
        assert!("SPA".parse::<Variant>().is_err());
        assert_eq!(Variant::from_code(5), None);
    }

    #[test]
    fn only_those_that_add_z_share_weights() {
        assert!(Variant::FullIntegration.served_by(Variant::Spa));
        assert!(Variant::Base.served_by(Variant::Lst));
        assert!(!Variant::Lst.served_by(Variant::Spa));
        assert!(!Variant::FullSeparation.served_by(Variant::Lst));
    }
}
