//! What `mqtt-publisher` and `mqtt-subscriber` share at the command line: flags, configuration, exit codes, messages, and
//! the subcommands `bench`, `key`, `peers`, `status` and `rotate`.

pub mod bench;
pub mod broker;
pub mod config;
mod config_file;
pub mod duration;
pub mod exit;
pub mod identity;
pub mod key;
pub mod logging;
pub mod pages;
pub mod peers;
pub mod prompt;
pub mod questions;
pub mod refusals;
pub mod running;
pub mod runtime;
pub mod signals;
pub mod start;
pub mod status;
mod store;
mod subcommands;
