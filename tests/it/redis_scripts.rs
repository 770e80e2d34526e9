//! The scripts of locks on one Redis server, and their model.

mod differential;

use lock_proto::file::Identity;
use lock_proto::redis::{Keys, Token};
use lock_proto::{LockName, Seed};

fn keys(name: &str) -> Keys {
    let name = LockName::new(name).expect("a short name");
    Keys::new("", &name).expect("a name without marks")
}

/// Somebody's token. The first has an owner with a space, which a message must survive.
fn token(number: u8) -> Token {
    let owner = if number == 1 { Some("night shift") } else { None };
    Token::new(&Identity::new("host", 7), owner, &Seed::from_bytes([number; 32]))
}
