//! One answer: a pure state machine, the device's side of an open position, and a driver that does the IO.

mod account;
mod choose;
mod driver;
mod fsm;
mod keeper;
mod plan;

#[cfg(test)]
mod fsm_tests;

pub use account::Account;
pub use choose::{Choice, ChooseError, Chooser};
pub use driver::{Outcome, Sink, Turn, drive};
pub use fsm::{Answer, Effect, Ended, Input, Spoken};
pub use keeper::Keeper;
pub use plan::{Mode, Plan, PlanError, plan};
