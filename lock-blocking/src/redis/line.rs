//! One connection, and what is known as long as it lasts.

use std::sync::Arc;
use std::time::Duration;

use lock_engine::redis::{Parcel, Session, load_scripts};
use redis::{Connection, ConnectionLike as _, RedisResult, Value};

use super::place::{Patience, Place};

/// A connection to a server that knows the scripts.
pub(super) struct Line {
    connection: Connection,
    patience: Duration,
    session: Arc<Session>,
    /// What is being written; kept for its capacity.
    bytes: Vec<u8>,
}

impl Line {
    pub(super) fn open(place: &Place, patience: Patience) -> RedisResult<Self> {
        let mut connection = place.connect(patience)?;
        let scripts = load_scripts();
        // A server that refuses to be told is told each script when it is needed.
        connection.req_packed_commands(&scripts.get_packed_pipeline(), 0, scripts.len())?;
        Ok(Self {
            connection,
            patience: patience.answer,
            session: Arc::default(),
            bytes: Vec::new(),
        })
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Writes parcels in one piece, and says how many replies come to each.
    pub(super) fn write<'a>(
        &mut self,
        parcels: impl Iterator<Item = &'a Parcel>,
    ) -> RedisResult<Vec<usize>> {
        self.bytes.clear();
        let mut counts = Vec::with_capacity(parcels.size_hint().0);
        for parcel in parcels {
            let commands = parcel.pack(&self.session);
            counts.push(commands.len());
            self.bytes.extend(commands.get_packed_pipeline());
        }
        self.connection.send_packed_command(&self.bytes)?;
        Ok(counts)
    }

    /// Writes one parcel, and reads what comes back in at most `left`.
    pub(super) fn ask(&mut self, parcel: &Parcel, left: Duration) -> RedisResult<Vec<Value>> {
        let commands = parcel.pack(&self.session);
        if left < self.patience {
            self.connection.set_read_timeout(Some(left))?;
        }
        self.connection.send_packed_command(&commands.get_packed_pipeline())?;
        let replies = self.read(commands.len())?;
        if left < self.patience {
            self.connection.set_read_timeout(Some(self.patience))?;
        }
        Ok(replies)
    }

    /// Reads so many replies. After an error the connection is of no use any more.
    pub(super) fn read(&mut self, count: usize) -> RedisResult<Vec<Value>> {
        let mut replies = Vec::with_capacity(count);
        while replies.len() < count {
            let reply = self.connection.recv_response()?;
            if !matches!(reply, Value::Push { .. }) {
                replies.push(reply);
            }
        }
        Ok(replies)
    }
}
