//! Locks on Redis: what every way of talking to a server has in common.
//!
//! A [`Transport`] connects, reconnects and carries [`Parcel`]s. Everything that needs to know what
//! is in one of them is here.

mod fault;
mod inbox;
mod session;
mod transport;
mod wire;

pub use fault::fault_of;
pub use inbox::Inbox;
pub use session::Session;
pub use transport::{Parcel, Ticket, Transport};
pub use wire::load_scripts;
