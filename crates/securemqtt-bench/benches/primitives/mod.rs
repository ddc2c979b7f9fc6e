//! The yardsticks: the same AEAD and the same curve, bare, in three libraries.

mod aead;
mod curve;

pub(crate) use aead::aeads;
pub(crate) use curve::curves;
