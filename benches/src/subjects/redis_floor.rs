//! The least that a lock on Redis can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, Value, cmd};
use tokio::sync::Notify;

use crate::workload::Lockable;

pub const LEASE_MS: u64 = 30_000;
pub const COMPARE_AND_DELETE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// `SET NX PX`, and a script that compares and deletes; on several servers all at once, and it
/// waits for every one.
pub struct RedisFloor {
    servers: Vec<MultiplexedConnection>,
    script: Arc<str>,
    key: String,
    /// Where it counts its holders, if each is to have a number.
    fence: Option<String>,
    poll: Duration,
}

impl RedisFloor {
    /// The floor for `key`.
    pub async fn new(urls: &[String], key: &str) -> Self {
        let servers = join_all(urls.iter().map(|url| connect(url))).await;
        let mut script = String::new();
        for server in &servers {
            let mut server = server.clone();
            let load = cmd("SCRIPT").arg("LOAD").arg(COMPARE_AND_DELETE).to_owned();
            script = load.query_async(&mut server).await.expect("a script that compiles");
        }
        let poll = Duration::from_millis(10);
        Self { servers, script: script.into(), key: key.to_owned(), fence: None, poll }
    }

    /// The same with a fence, which is minted in the write that takes the lock.
    pub fn fenced(self) -> Self {
        Self { fence: Some(format!("{}: fence", self.key)), ..self }
    }

    /// The same connections for another key.
    pub fn for_key(&self, key: &str) -> Self {
        let (servers, script) = (self.servers.clone(), Arc::clone(&self.script));
        Self { servers, script, key: key.to_owned(), fence: None, poll: self.poll }
    }

    async fn take_once(&self, token: &str) -> bool {
        let asked = self.servers.iter().map(|server| {
            let mut server = server.clone();
            let mut set = cmd("SET");
            set.arg(&self.key).arg(token).arg("NX").arg("PX").arg(LEASE_MS);
            async move {
                let Some(fence) = &self.fence else { return set.query_async(&mut server).await };
                let mut both = redis::pipe();
                both.add_command(set).cmd("INCR").arg(fence);
                let (taken, _fence): (Value, i64) = both.query_async(&mut server).await?;
                Ok::<Value, redis::RedisError>(taken)
            }
        });
        let taken = join_all(asked).await;
        let yeses = taken.iter().filter(|answer| matches!(answer, Ok(Value::Okay))).count();
        yeses > self.servers.len() / 2
    }
}

impl Lockable for RedisFloor {
    type Held = String;

    async fn acquire(&self) -> String {
        let token = fresh_token();
        while !self.take_once(&token).await {
            tokio::time::sleep(self.poll).await;
        }
        token
    }

    async fn release(&self, token: String) {
        let asked = self.servers.iter().map(|server| {
            let mut server = server.clone();
            let mut delete = cmd("EVALSHA");
            delete.arg(&*self.script).arg(1).arg(&self.key).arg(&token);
            async move { delete.query_async::<Value>(&mut server).await }
        });
        join_all(asked).await;
    }
}

/// A token in a list, which `BLPOP` takes and `LPUSH` gives back: one round trip for a hand-over,
/// and no lease.
pub struct HandOff {
    connection: MultiplexedConnection,
    key: String,
}

impl HandOff {
    /// One waiter, with a connection of its own.
    pub async fn new(url: &str, key: &str) -> Self {
        Self { connection: connect(url).await, key: key.to_owned() }
    }

    /// Lays the only token down.
    pub async fn lay_down(&self) {
        let mut connection = self.connection.clone();
        let _: i64 =
            cmd("DEL").arg(&self.key).query_async(&mut connection).await.expect("it is up");
        self.release(()).await;
    }
}

impl Lockable for HandOff {
    type Held = ();

    async fn acquire(&self) {
        let mut connection = self.connection.clone();
        let taken = cmd("BLPOP").arg(&self.key).arg(0).query_async::<Value>(&mut connection).await;
        taken.expect("the server is up");
    }

    async fn release(&self, (): ()) {
        let mut connection = self.connection.clone();
        let push = cmd("LPUSH").arg(&self.key).arg("token").to_owned();
        push.query_async::<i64>(&mut connection).await.expect("the server is up");
    }
}

/// The least that a lock with leases and a queue on the server can do: who asks is set down in the
/// queue, and whoever gives it back takes the next one out, gives it the lease and tells it.
pub struct Queued {
    connection: MultiplexedConnection,
    enter: String,
    leave: String,
    lock: String,
    queue: String,
    /// The channel on which it is told, and its token.
    inbox: String,
    told: Arc<Notify>,
}

const ENTER: &str = "if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end \
                     redis.call('rpush', KEYS[2], ARGV[1]) return 0";
const LEAVE: &str = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end \
                     local next = redis.call('lpop', KEYS[2]) \
                     if not next then return redis.call('del', KEYS[1]) end \
                     redis.call('set', KEYS[1], next, 'PX', ARGV[2]) \
                     redis.call('publish', next, '') return 1";

impl Queued {
    /// One waiter, with a connection of its own.
    pub async fn new(url: &str, key: &str) -> Self {
        let told = Arc::new(Notify::new());
        let (bell, inbox) = (Arc::clone(&told), fresh_token());
        let hear = move |push: PushInfo| {
            if push.kind == PushKind::Message {
                bell.notify_one();
            }
            Ok::<(), SendError>(())
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(hear);
        let client = Client::open(format!("{url}?protocol=resp3")).expect("an address");
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.expect("the server is up");
        connection.subscribe(&inbox).await.expect("the server is up");
        let mut load = async |script: &str| -> String {
            let load = cmd("SCRIPT").arg("LOAD").arg(script).to_owned();
            load.query_async(&mut connection).await.expect("a script that compiles")
        };
        let (enter, leave) = (load(ENTER).await, load(LEAVE).await);
        let (lock, queue) = (key.to_owned(), format!("{key}:queue"));
        Self { connection, enter, leave, lock, queue, inbox, told }
    }

    async fn run(&self, script: &str) -> i64 {
        let mut call = cmd("EVALSHA");
        call.arg(script).arg(2).arg(&self.lock).arg(&self.queue).arg(&self.inbox).arg(LEASE_MS);
        call.query_async(&mut self.connection.clone()).await.expect("the server is up")
    }
}

impl Lockable for Queued {
    type Held = ();

    async fn acquire(&self) {
        if self.run(&self.enter).await == 0 {
            self.told.notified().await;
        }
    }

    async fn release(&self, (): ()) {
        self.run(&self.leave).await;
    }
}

/// A connection without a time-out of its own, which would cost a timer for each command.
pub async fn connect(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("a fixture's URL");
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    connection.expect("the server is up")
}

/// What nobody else has.
pub fn fresh_token() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
