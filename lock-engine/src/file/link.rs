//! Carries the commands of file locks to the file system and to this process's own queue.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Weak};

use lock_proto::file::{Command, FileLock, FileLockOptions, Reply, file_name};
use lock_proto::memory::{self, LockTable};
use lock_proto::{
    AcquireOptions, Demand, Fault, Instant, LockError, LockId, LockInfo, LockName, Request, Seed,
};

use super::info;
use super::site::Site;
use crate::client::FilePlace;
use crate::engine::{Answer, Engine, Link, Step};
use crate::seeds::Seeds;
use crate::{Address, Pending};

pub(super) struct FileLink {
    directory: Arc<Path>,
    settings: FileLockOptions,
    seeds: Seeds,
    engine: Weak<Engine<Self>>,
}

impl FileLink {
    pub(super) fn new(
        directory: Arc<Path>,
        settings: FileLockOptions,
        seed: &Seed,
        engine: Weak<Engine<Self>>,
    ) -> Self {
        Self { directory, settings, seeds: Seeds::new(seed), engine }
    }
}

impl Link for FileLink {
    type Machine = FileLock;
    type Opened = (FileLock, Arc<Site>);
    type Site = Arc<Site>;
    /// Where the tasks of this process queue for each file.
    type Table = LockTable;
    type Errand = Command;
    type Letter = Infallible;

    fn locate(&self, name: &str) -> Address {
        Address { file: Some(self.place(name)), ..Address::named(name) }
    }

    fn open(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        now: Instant,
    ) -> Result<(FileLock, Arc<Site>), LockError> {
        let name = LockName::new(Arc::clone(&address.name))?;
        let place = self.place_of(address);
        let site = Site::new(place.path, LockName::new(place.queue)?, demand);
        let settings = self.settings.clone();
        let machine = FileLock::new(name, demand, options, settings, &self.seeds.next(), now)?;
        Ok((machine, Arc::new(site)))
    }

    fn compute(
        &self,
        queue: &mut LockTable,
        lock: LockId,
        site: &Arc<Site>,
        request: Request<Command>,
        now: Instant,
    ) -> Step<Self> {
        let ask = match &request.command {
            Command::Enter { demand, wait } => {
                let (demand, wait) = (*demand, *wait);
                memory::Command::Enter { demand, wait, ttl: None, owner: None }
            }
            Command::Leave => memory::Command::Leave { demand: site.demand() },
            Command::CreateDirectory
            | Command::Open(_)
            | Command::TryLock(..)
            | Command::Watch(_)
            | Command::Verify(_)
            | Command::Read(_)
            | Command::Write(..)
            | Command::Remove(_)
            | Command::Close(_) => return Step::Outside(request.command),
        };
        let reply = queue.execute(lock, site.queue(), request.map(|_| ask), now);
        reply.map_or(Step::Later, |reply| Step::Answered(Ok(place(reply))))
    }

    fn carry_out(
        &self,
        lock: LockId,
        site: &Arc<Site>,
        errand: Command,
        _: Instant,
    ) -> Option<Result<Reply, Fault>> {
        Some(match errand {
            // The queue has answered these.
            Command::Enter { .. } | Command::Leave => return None,
            Command::CreateDirectory => site.create_directory(),
            Command::Open(file) => site.open(file),
            Command::TryLock(file, mode) => site.with(file, |at| at.try_lock(mode)),
            Command::Watch(file) => site.watch(file, &self.engine.upgrade()?, lock),
            Command::Verify(file) => site.with(file, |at| at.verify()),
            Command::Read(file) => site.with(file, |at| at.read()),
            Command::Write(file, bytes) => site.with(file, |at| at.write(&bytes)),
            Command::Remove(file) => site.with(file, |at| at.remove()),
            Command::Close(file) => site.close(file),
        })
    }

    fn send(&self, _: LockId, letter: Infallible, _: Instant) {
        match letter {}
    }

    fn poll_answer(&self, queue: &mut LockTable, _: Instant) -> Option<(LockId, Answer<Self>)> {
        let (lock, id, reply) = queue.poll_reply()?;
        Some((lock, Answer::Reply(id, Ok(place(reply)))))
    }

    fn poll_timeout(&self, _: &LockTable) -> Option<Instant> {
        None
    }

    fn info(
        &self,
        engine: &Engine<Self>,
        address: &Address,
        demand: Demand,
        now: Instant,
    ) -> Pending<Result<LockInfo, LockError>> {
        let place = self.place_of(address);
        Pending::ready(LockName::new(place.queue).and_then(|name| {
            let queued = engine.with_table(|queue| queue.info(&name, demand, now));
            info::of_lock(&place.path, &address.name, demand, &queued).map_err(LockError::Backend)
        }))
    }

    fn list(&self, _: &Engine<Self>, _: Instant) -> Pending<Result<Vec<LockInfo>, LockError>> {
        Pending::ready(info::of_directory(&self.directory).map_err(LockError::Backend))
    }
}

impl FileLink {
    fn place_of(&self, address: &Address) -> FilePlace {
        address.file.clone().unwrap_or_else(|| self.place(&address.name))
    }

    fn place(&self, name: &str) -> FilePlace {
        FilePlace::new(self.directory.join(file_name(name)))
    }
}

/// What the queue's answer means to a file lock.
fn place(reply: memory::Reply) -> Reply {
    match reply {
        memory::Reply::Busy => Reply::Busy,
        memory::Reply::Withdrawn => Reply::Withdrawn,
        memory::Reply::Granted { .. }
        | memory::Reply::Extended { .. }
        | memory::Reply::NotHeld
        | memory::Reply::Left => Reply::Done,
    }
}
