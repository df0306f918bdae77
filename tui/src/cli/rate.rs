//! `aside rate`: what a person thinks of the last answer, which is what the adapter learns most from.

use std::io::Read;

use aside_config::Paths;
use aside_daemon_api::proto::RateRequest;
use clap::{Args, ValueEnum};

use super::exit::{Exit, Failure};
use super::{output, unlock};

/// Says what you think of the last answer
///
/// A good answer is learned like your own words, a bad one never; an edited one is learned as you wrote it and takes the
/// answer's place.
#[derive(Debug, Args)]
pub(crate) struct Rate {
    /// Your opinion
    opinion: Opinion,
    /// For `edited`: the answer as it should have been, or - for standard input
    #[arg(value_name = "TEXT", required_if_eq("opinion", "edited"))]
    text: Option<String>,
    /// Number of the conversation; the newest when left out
    #[arg(long, value_name = "NUMBER")]
    conversation: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Opinion {
    Good,
    Bad,
    Edited,
    /// Takes it back
    None,
}

impl Rate {
    /// Does it.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        let mut text = self.text.unwrap_or_default();
        if text == "-" {
            text.clear();
            std::io::stdin().read_to_string(&mut text)?;
        }
        let rating = match self.opinion {
            Opinion::Good => "good",
            Opinion::Bad => "bad",
            Opinion::Edited => "edited",
            Opinion::None => "",
        };
        let conversation = self.conversation.unwrap_or(-1);
        let request = RateRequest { conversation, rating: rating.to_owned(), text: text.trim().to_owned() };
        unlock::open(paths).await?.rate(request).await?;
        output::line("Kept.")?;
        Ok(Exit::Success)
    }
}
