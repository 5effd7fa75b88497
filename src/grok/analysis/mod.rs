//! What can be known about a pattern without running it.

mod byteset;
mod first;
mod length;

pub use byteset::ByteSet;
pub use first::{First, first_of, leading_bytes};
pub use length::{can_finish, lengths, program_size};
