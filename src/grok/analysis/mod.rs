//! Static analysis of patterns.

mod byteset;
mod decisive;
mod factor;
mod first;
mod length;
mod literal;
mod outline;

pub use byteset::ByteSet;
pub use decisive::{decisive, vacuous};
pub use factor::factor;
pub use first::{First, first_of, leading_bytes};
pub use length::{can_finish, lengths, program_size};
pub use literal::{required, worth};
pub use outline::outline;
