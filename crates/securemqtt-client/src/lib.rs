//! securemqtt over a real broker: the connection, the state on disk, and the drivers of both sides.

mod alarm;
mod clock;
pub mod control;
mod error;
#[cfg(target_os = "linux")]
pub mod fd;
pub mod mqtt;
mod notice;
mod parked;
pub mod publisher;
mod pump;
pub mod state;
pub mod subscriber;
mod turn;

pub use error::ClientError;
pub use notice::{Notice, Trouble};
