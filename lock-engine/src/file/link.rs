//! Carries the commands of file locks to the file system and to this process's own queue.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lock_proto::file::{Command, FileLock, FileLockOptions, Reply, file_name};
use lock_proto::memory::{self, LockTable};
use lock_proto::{
    AcquireOptions, Demand, Fault, Instant, LockError, LockId, LockInfo, LockName, Request,
    RequestId, Seed,
};

use super::info;
use super::site::Site;
use crate::client::FilePlace;
use crate::engine::{Answer, Engine, Link};
use crate::seeds::Seeds;
use crate::{Address, Pending};

pub(super) struct FileLink {
    directory: Arc<Path>,
    settings: FileLockOptions,
    /// Where the tasks of this process queue for each file.
    queue: Mutex<LockTable>,
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
        let queue = Mutex::new(LockTable::new());
        Self { directory, settings, queue, seeds: Seeds::new(seed), engine }
    }

    fn queue(&self) -> MutexGuard<'_, LockTable> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_queue(
        &self,
        lock: LockId,
        request: Request<memory::Command>,
        now: Instant,
    ) -> Option<Result<Reply, Fault>> {
        self.queue().execute(lock, request, now).map(|reply| Ok(place(reply)))
    }
}

impl Link for FileLink {
    type Machine = FileLock;
    type Site = Arc<Site>;

    const PURE: bool = false;

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

    fn carry_out(
        &self,
        lock: LockId,
        site: &Arc<Site>,
        request: Request<Command>,
        now: Instant,
    ) -> Option<Result<Reply, Fault>> {
        let name = site.queue();
        match request.command {
            Command::Enter { demand, wait } => {
                let enter = memory::Command::Enter { name, demand, wait, ttl: None, owner: None };
                self.ask_queue(lock, request.map(|_| enter), now)
            }
            Command::Leave => {
                let leave = memory::Command::Leave { name, demand: site.demand() };
                self.ask_queue(lock, request.map(|_| leave), now)
            }
            Command::CreateDirectory => Some(site.create_directory()),
            Command::Open(file) => Some(site.open(file)),
            Command::TryLock(file, mode) => Some(site.with(file, |at| at.try_lock(mode))),
            Command::Watch(file) => {
                let engine = self.engine.upgrade()?;
                Some(site.watch(file, &engine, lock))
            }
            Command::Verify(file) => Some(site.with(file, |at| at.verify())),
            Command::Read(file) => Some(site.with(file, |at| at.read())),
            Command::Write(file, bytes) => Some(site.with(file, |at| at.write(&bytes))),
            Command::Remove(file) => Some(site.with(file, |at| at.remove())),
            Command::Close(file) => Some(site.close(file)),
        }
    }

    fn poll_answer(&self) -> Option<(LockId, Answer<Reply>)> {
        let (lock, id, reply): (LockId, RequestId, _) = self.queue().poll_reply()?;
        Some((lock, Answer::Reply(id, Ok(place(reply)))))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&self, _now: Instant) {}

    fn info(
        &self,
        address: &Address,
        demand: Demand,
        now: Instant,
    ) -> Pending<Result<LockInfo, LockError>> {
        Pending::ready(self.info_of(address, demand, now))
    }

    fn list(&self, _now: Instant) -> Pending<Result<Vec<LockInfo>, LockError>> {
        Pending::ready(info::of_directory(&self.directory).map_err(LockError::Backend))
    }
}

impl FileLink {
    fn info_of(
        &self,
        address: &Address,
        demand: Demand,
        now: Instant,
    ) -> Result<LockInfo, LockError> {
        let place = self.place_of(address);
        let queued = self.queue().info(&LockName::new(place.queue)?, demand, now);
        info::of_lock(&place.path, &address.name, demand, &queued).map_err(LockError::Backend)
    }

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
