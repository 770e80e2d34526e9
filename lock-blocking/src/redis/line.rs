//! One connection, and what is known as long as it lasts.

use std::sync::Arc;
use std::time::Duration;

use lock_engine::redis::{Parcel, Session, load_scripts};
use redis::{
    Connection, ConnectionLike as _, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
};

use super::place::{Patience, Place};

/// A connection to a server that knows the scripts.
pub(super) struct Line {
    connection: Connection,
    patience: Duration,
    session: Arc<Session>,
    /// What broke it.
    broken: Option<RedisError>,
    /// Whether it leads to what is no master now.
    demoted: bool,
}

impl Line {
    pub(super) fn open(place: &Place, patience: Patience) -> RedisResult<Self> {
        let mut connection = place.connect(patience)?;
        let scripts = load_scripts();
        // A server that refuses to be told is told each script when it is needed.
        connection.req_packed_commands(&scripts.get_packed_pipeline(), 0, scripts.len())?;
        let (session, patience) = (Arc::default(), patience.answer);
        Ok(Self { connection, patience, session, broken: None, demoted: false })
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether it is of no use any more.
    pub(super) fn is_over(&self) -> bool {
        self.broken.is_some() || self.demoted
    }

    /// Writes parcels in one piece, and says how many replies come to each.
    pub(super) fn write<'a>(
        &mut self,
        parcels: impl ExactSizeIterator<Item = &'a Parcel>,
    ) -> Vec<usize> {
        let mut pipeline = Pipeline::with_capacity(2 * parcels.len());
        let counts = parcels.map(|parcel| parcel.pack_into(&mut pipeline, &self.session)).collect();
        let bytes = pipeline.get_packed_pipeline();
        // Whoever reads is told of what went wrong.
        let _ = self.unless_broken(|connection| connection.send_packed_command(&bytes));
        counts
    }

    /// Writes parcels in one piece, and reads what comes back to each, of which nothing may take
    /// longer than `left`.
    pub(super) fn ask<'a>(
        &mut self,
        parcels: impl ExactSizeIterator<Item = &'a Parcel>,
        left: Duration,
    ) -> Vec<RedisResult<Vec<Value>>> {
        let patience = self.patience;
        if left < patience {
            let _ = self.unless_broken(|connection| connection.set_read_timeout(Some(left)));
        }
        let replies = self.write(parcels).into_iter().map(|count| self.read(count)).collect();
        if left < patience {
            let _ = self.unless_broken(|connection| connection.set_read_timeout(Some(patience)));
        }
        replies
    }

    /// Reads so many replies; nothing more is read after what broke the connection.
    pub(super) fn read(&mut self, count: usize) -> RedisResult<Vec<Value>> {
        let replies = self.unless_broken(|connection| {
            let mut replies = Vec::with_capacity(count);
            while replies.len() < count {
                let reply = connection.recv_response()?;
                if !matches!(reply, Value::Push { .. }) {
                    replies.push(reply);
                }
            }
            Ok(replies)
        })?;
        self.demoted |= replies.iter().any(|reply| {
            matches!(reply, Value::ServerError(error)
                if error.kind() == Some(ServerErrorKind::ReadOnly))
        });
        Ok(replies)
    }

    fn unless_broken<T>(
        &mut self,
        talk: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        talk(&mut self.connection).inspect_err(|error| self.broken = Some(error.clone()))
    }
}
