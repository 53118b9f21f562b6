//! READ CAPACITY (SBC-3 §5.15, §5.16).

use super::super::config::MediumShape;
use super::super::step::Completion;
use super::{Next, data_in};

pub(super) fn read_capacity_10(medium: &MediumShape) -> Next {
    Next::Done(Completion::data(medium.capacity().encode_10().to_vec()))
}

pub(super) fn read_capacity_16(medium: &MediumShape, allocation_length: u32) -> Next {
    Next::Done(data_in(medium.capacity().encode_16().to_vec(), allocation_length))
}
