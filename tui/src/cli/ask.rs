//! `aside ask`: one question, the answer on stdout as it comes.

use std::io::{self, IsTerminal, Read};

use aside_config::{Overrides, Paths, Settings, VARIANTS};
use aside_daemon_api::client::Rpc;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{AskRequest, ask_event};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::events::Event;
use super::exit::{Exit, Failure};
use super::{output, unlock};

/// Asks one thing and prints the answer
///
/// Only the answer goes to stdout. Each question starts a new conversation, unless told otherwise.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// What to ask; `-`, or nothing with a pipe, reads it from stdin
    #[arg(value_name = "TEXT")]
    text: Vec<String>,
    /// One event a line: tokens with their source, then the whole
    #[arg(long)]
    pub(crate) json: bool,
    /// Who chooses the tokens
    #[arg(long, value_parser = PossibleValuesParser::new(VARIANTS))]
    variant: Option<String>,
    /// The same seed gives the same answer
    #[arg(long)]
    seed: Option<u64>,
    /// 0 is greedy
    #[arg(long)]
    temperature: Option<f32>,
    /// Candidates kept; 0 keeps all
    #[arg(long)]
    top_k: Option<u32>,
    /// Probability mass kept
    #[arg(long)]
    top_p: Option<f32>,
    /// Longest answer
    #[arg(long)]
    max_tokens: Option<u32>,
    /// Go on with the newest conversation
    #[arg(long = "continue", conflicts_with_all = ["private", "conversation"])]
    go_on: bool,
    /// Go on with this conversation
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "private")]
    conversation: Option<i64>,
    /// Keep nothing: no conversation, no lesson, no statistics
    #[arg(long)]
    private: bool,
}

impl Ask {
    /// Asks.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        let settings = Settings::load(paths, &self.overrides())?;
        let request = self.request(&settings, self.question()?);
        let rpc = unlock::open(paths).await?;
        let mut answer = Answer { json: self.json, ends_line: true };
        let ended = tokio::select! {
            ended = answer.print(rpc, request) => ended,
            // Dropping the stream cancels the answer; what was said so far is kept.
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        };
        answer.finish_line()?;
        ended
    }

    fn overrides(&self) -> Overrides {
        Overrides::default()
            .set("chat.variant", self.variant.clone())
            .set("chat.seed", self.seed)
            .set("chat.temperature", self.temperature)
            .set("chat.top_k", self.top_k)
            .set("chat.top_p", self.top_p)
            .set("chat.max_tokens", self.max_tokens)
    }

    fn question(&self) -> Result<String, Failure> {
        let piped = self.text.is_empty() && !io::stdin().is_terminal();
        let text = if piped || self.text == ["-"] {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        } else {
            self.text.join(" ")
        };
        if text.trim().is_empty() {
            return Err(Failure::usage("there is nothing to ask", "aside ask TEXT"));
        }
        Ok(text)
    }

    fn request(&self, settings: &Settings, text: String) -> AskRequest {
        let chat = &settings.chat;
        AskRequest {
            conversation: if self.go_on { -1 } else { self.conversation.unwrap_or(0) },
            text,
            private: self.private,
            variant: chat.variant.clone(),
            seed: chat.seed,
            temperature: Some(chat.temperature),
            top_k: Some(chat.top_k),
            top_p: Some(chat.top_p),
            max_tokens: Some(chat.max_tokens),
            history: Vec::new(),
            regenerate: false,
        }
    }
}

/// An answer on its way to stdout.
struct Answer {
    json: bool,
    /// Nothing printed yet, or a line's end was the last.
    ends_line: bool,
}

impl Answer {
    async fn print(&mut self, mut rpc: Rpc, request: AskRequest) -> Result<Exit, Failure> {
        let mut events = rpc.ask(request).await?.into_inner();
        while let Some(event) = events.message().await? {
            match event.event {
                Some(ask_event::Event::Token(token)) if self.json => output::json(&Event::token(&token))?,
                Some(ask_event::Event::Token(token)) => self.piece(&token.text)?,
                Some(ask_event::Event::Notice(notice)) => {
                    self.finish_line_on_terminal()?;
                    output::notice(&notice.message);
                }
                Some(ask_event::Event::Done(done)) => {
                    if self.json {
                        output::json(&Event::done(&done))?;
                    }
                    self.ends_line &= !done.text.is_empty();
                    return Ok(if done.reason == "cancelled" { Exit::Interrupted } else { Exit::Success });
                }
                Some(ask_event::Event::Started(_)) | None => {}
            }
        }
        let fault = Fault::new(codes::INTERNAL, "the daemon ended before the answer did");
        Err(fault.repair("aside daemon status").into())
    }

    fn piece(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.ends_line = text.ends_with('\n');
        output::piece(text)
    }

    /// A notice in the middle of a line would be unreadable, where both go to the same terminal.
    fn finish_line_on_terminal(&mut self) -> io::Result<()> {
        if io::stdout().is_terminal() { self.finish_line() } else { Ok(()) }
    }

    fn finish_line(&mut self) -> io::Result<()> {
        if self.json || self.ends_line {
            return Ok(());
        }
        self.ends_line = true;
        output::piece("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        ask: Ask,
    }

    fn ask(arguments: &[&str]) -> Ask {
        Alone::parse_from([&["aside"], arguments].concat()).ask
    }

    fn request(arguments: &[&str]) -> AskRequest {
        let ask = ask(arguments);
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::load(&Paths::under(dir.path()), &ask.overrides()).unwrap();
        ask.request(&settings, ask.question().unwrap())
    }

    #[test]
    fn words_are_joined_and_flags_win() {
        let request = request(&["how", "are you", "--seed", "7", "--top-k", "3", "--variant", "lst"]);
        assert_eq!(request.text, "how are you");
        assert_eq!((request.seed, request.top_k, request.variant.as_str()), (Some(7), Some(3), "lst"));
        assert_eq!((request.temperature, request.max_tokens), (Some(0.7), Some(256)));
        assert_eq!((request.conversation, request.private), (0, false));
    }

    #[test]
    fn a_conversation_is_new_the_newest_or_named() {
        assert_eq!(request(&["--continue", "hi"]).conversation, -1);
        assert_eq!(request(&["--conversation", "12", "hi"]).conversation, 12);
        assert!(Alone::try_parse_from(["aside", "--continue", "--private", "hi"]).is_err());
        assert!(Alone::try_parse_from(["aside", "--conversation", "0", "hi"]).is_err());
    }
}
