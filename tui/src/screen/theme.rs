//! Meaning before colour: every style on the screen is asked for by what it means, and four palettes answer.
//! The only place that may name a true colour. No palette uses underline for anything but the side network.

#![expect(clippy::disallowed_methods, reason = "this is where meanings get their colours")]

use ratatui::style::{Color, Modifier, Style};

/// What a piece of the screen means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Text that base chose, and every other plain text.
    Base,
    /// Text that the side network chose.
    Side,
    /// Side text that differs from what base would have said.
    Changed,
    /// The person's name tag.
    Person,
    /// The model's name tag.
    Speaker,
    /// Hints, rules, numbers on the edge.
    Quiet,
    /// A heading or a title.
    Heading,
    /// Code, inline or in a block.
    Code,
    /// Quoted text.
    Quote,
    /// The text of a link.
    Link,
    /// All is well.
    Good,
    /// Something a person should look at.
    Warn,
    /// Something failed.
    Bad,
    /// The chosen line of a list.
    Selected,
}

/// Every meaning, for tests and for the page of samples.
#[cfg(test)]
pub(crate) const MEANINGS: [Meaning; 14] = [
    Meaning::Base,
    Meaning::Side,
    Meaning::Changed,
    Meaning::Person,
    Meaning::Speaker,
    Meaning::Quiet,
    Meaning::Heading,
    Meaning::Code,
    Meaning::Quote,
    Meaning::Link,
    Meaning::Good,
    Meaning::Warn,
    Meaning::Bad,
    Meaning::Selected,
];

/// How meanings look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Palette {
    /// True colour on a dark background.
    Dark,
    /// True colour on a light background.
    Light,
    /// The terminal's own 16 colours, on any background.
    Ansi,
    /// No colour at all: attributes only.
    Plain,
}

impl Palette {
    /// The palette for a theme name ("auto", "dark", "light", "16", "none") in an environment.
    /// `NO_COLOR` wins over everything. `auto` takes true colour only where the background is known.
    pub(crate) fn choose(theme: &str, env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        if set("NO_COLOR").is_some() || set("TERM").as_deref() == Some("dumb") {
            return Self::Plain;
        }
        match theme {
            "dark" => Self::Dark,
            "light" => Self::Light,
            "16" | "ansi" => Self::Ansi,
            "none" | "plain" => Self::Plain,
            _ => Self::guess(set("COLORTERM").as_deref(), set("COLORFGBG").as_deref()),
        }
    }

    fn guess(depth: Option<&str>, colours: Option<&str>) -> Self {
        let background = colours.and_then(|c| c.rsplit(';').next()).and_then(|c| c.parse::<u8>().ok());
        match (depth, background) {
            (Some("truecolor" | "24bit"), Some(7 | 9..=15)) => Self::Light,
            (Some("truecolor" | "24bit"), Some(0..=6 | 8)) => Self::Dark,
            _ => Self::Ansi,
        }
    }

    /// The style of a meaning.
    pub(crate) fn style(self, meaning: Meaning) -> Style {
        let style = attributes(meaning);
        match (self.colour(meaning), self, meaning) {
            (Some(colour), ..) => style.fg(colour),
            // Without a colour of its own a hint is dim.
            (None, Self::Ansi | Self::Plain, Meaning::Quiet | Meaning::Quote) => {
                style.add_modifier(Modifier::DIM)
            }
            (None, ..) => style,
        }
    }

    fn colour(self, meaning: Meaning) -> Option<Color> {
        match self {
            Self::Dark => dark(meaning),
            Self::Light => light(meaning),
            Self::Ansi => ansi(meaning),
            Self::Plain => None,
        }
    }
}

/// What every palette shares, so that colour is never the only sign.
fn attributes(meaning: Meaning) -> Style {
    let modifier = match meaning {
        Meaning::Side => Modifier::UNDERLINED,
        Meaning::Changed => Modifier::UNDERLINED | Modifier::BOLD,
        Meaning::Person | Meaning::Speaker | Meaning::Heading | Meaning::Warn | Meaning::Bad => {
            Modifier::BOLD
        }
        Meaning::Selected => Modifier::REVERSED,
        Meaning::Base | Meaning::Quiet | Meaning::Code | Meaning::Quote | Meaning::Link | Meaning::Good => {
            Modifier::empty()
        }
    };
    Style::new().add_modifier(modifier)
}

fn dark(meaning: Meaning) -> Option<Color> {
    match meaning {
        Meaning::Base | Meaning::Heading | Meaning::Selected => None,
        Meaning::Side => Some(Color::Rgb(125, 207, 255)),
        Meaning::Changed => Some(Color::Rgb(255, 158, 100)),
        Meaning::Person => Some(Color::Rgb(158, 206, 106)),
        Meaning::Speaker => Some(Color::Rgb(187, 154, 247)),
        Meaning::Quiet => Some(Color::Rgb(146, 153, 184)),
        Meaning::Code => Some(Color::Rgb(224, 175, 104)),
        Meaning::Quote => Some(Color::Rgb(169, 177, 214)),
        Meaning::Link => Some(Color::Rgb(122, 162, 247)),
        Meaning::Good => Some(Color::Rgb(158, 206, 106)),
        Meaning::Warn => Some(Color::Rgb(224, 175, 104)),
        Meaning::Bad => Some(Color::Rgb(247, 118, 142)),
    }
}

fn light(meaning: Meaning) -> Option<Color> {
    match meaning {
        Meaning::Base | Meaning::Heading | Meaning::Selected => None,
        Meaning::Side => Some(Color::Rgb(0, 95, 135)),
        Meaning::Changed => Some(Color::Rgb(158, 60, 0)),
        Meaning::Person => Some(Color::Rgb(40, 100, 20)),
        Meaning::Speaker => Some(Color::Rgb(110, 50, 170)),
        Meaning::Quiet => Some(Color::Rgb(95, 95, 105)),
        Meaning::Code => Some(Color::Rgb(125, 75, 0)),
        Meaning::Quote => Some(Color::Rgb(80, 80, 95)),
        Meaning::Link => Some(Color::Rgb(25, 75, 175)),
        Meaning::Good => Some(Color::Rgb(40, 100, 20)),
        Meaning::Warn => Some(Color::Rgb(125, 75, 0)),
        Meaning::Bad => Some(Color::Rgb(170, 20, 40)),
    }
}

/// Only the colours that are readable on black and on white.
fn ansi(meaning: Meaning) -> Option<Color> {
    match meaning {
        Meaning::Side | Meaning::Changed | Meaning::Speaker => Some(Color::Magenta),
        Meaning::Person | Meaning::Good | Meaning::Code => Some(Color::Green),
        Meaning::Bad => Some(Color::Red),
        Meaning::Base
        | Meaning::Heading
        | Meaning::Selected
        | Meaning::Quiet
        | Meaning::Quote
        | Meaning::Link
        | Meaning::Warn => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    #[rstest]
    #[case("dark", &[("NO_COLOR", "1")], Palette::Plain)]
    #[case("dark", &[("NO_COLOR", "")], Palette::Dark)]
    #[case("auto", &[("TERM", "dumb")], Palette::Plain)]
    #[case("auto", &[("COLORTERM", "truecolor")], Palette::Ansi)]
    #[case("auto", &[("COLORTERM", "truecolor"), ("COLORFGBG", "15;0")], Palette::Dark)]
    #[case("auto", &[("COLORTERM", "24bit"), ("COLORFGBG", "0;default;15")], Palette::Light)]
    #[case("16", &[("COLORTERM", "truecolor"), ("COLORFGBG", "15;0")], Palette::Ansi)]
    #[case("none", &[], Palette::Plain)]
    fn palette_is_chosen(#[case] theme: &str, #[case] pairs: &[(&str, &str)], #[case] want: Palette) {
        assert_eq!(Palette::choose(theme, env(pairs)), want);
    }

    /// Relative luminance of WCAG 2.
    fn luminance((r, g, b): (u8, u8, u8)) -> f64 {
        let part = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
    }

    #[rstest]
    #[case(Palette::Dark, (30, 30, 30))]
    #[case(Palette::Light, (250, 250, 250))]
    fn true_colours_are_readable(#[case] palette: Palette, #[case] background: (u8, u8, u8)) {
        for meaning in MEANINGS {
            let Some(Color::Rgb(r, g, b)) = palette.style(meaning).fg else { continue };
            let (a, b) = (luminance((r, g, b)), luminance(background));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= 4.5, "{palette:?} {meaning:?}: contrast {contrast:.2}");
        }
    }

    #[test]
    fn provenance_differs_without_colour_in_every_palette() {
        for palette in [Palette::Dark, Palette::Light, Palette::Ansi, Palette::Plain] {
            let of = |m| palette.style(m).add_modifier;
            assert_ne!(of(Meaning::Base), of(Meaning::Side));
            assert_ne!(of(Meaning::Side), of(Meaning::Changed));
        }
    }

    #[test]
    fn plain_has_no_colour() {
        for meaning in MEANINGS {
            let style = Palette::Plain.style(meaning);
            assert_eq!((style.fg, style.bg), (None, None), "{meaning:?}");
        }
    }
}
