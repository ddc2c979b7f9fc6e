//! The processes that are measured: what they use, and how they are told what to do.

mod meter;
mod pipe;
mod role;

pub(crate) use meter::{Meter, Usage};
pub(crate) use pipe::{Lines, Printed};
pub(crate) use role::Role;
