//! Sessions of somebody else.

use std::sync::mpsc::{self, TryRecvError};
use std::thread::{self, JoinHandle};

use postgres::{Client, Error, NoTls, SimpleQueryMessage, SimpleQueryRow};

use crate::redis::PATIENCE;

/// The rows of an answer in the server's own text, `NULL` as nothing.
pub type Rows = Vec<Vec<String>>;

type Order = (String, mpsc::Sender<Result<Rows, Error>>);

/// A session with a server, which knows nothing of these locks; closed with its value, as soon as
/// it has nothing more to wait for.
///
/// It may be used on any thread, those of a runtime included.
#[derive(Debug)]
pub struct Session {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
    pid: u32,
}

/// The answer to a statement, which may be still to come.
#[derive(Debug)]
#[must_use]
pub struct Answer(mpsc::Receiver<Result<Rows, Error>>);

impl Session {
    /// Connects without TLS. The place is a URL or consists of pairs, as all clients read them.
    ///
    /// # Errors
    ///
    /// If the server can't be reached, or won't have us.
    ///
    /// # Panics
    ///
    /// If the server accepts the connection and says nothing.
    pub fn connect(place: &str) -> Result<Self, Error> {
        let (orders, received) = mpsc::channel();
        let (report, reported) = mpsc::channel();
        let place = place.to_owned();
        // The client has a runtime of its own, and may not be used or dropped within another.
        let thread = thread::spawn(move || match open(&place) {
            Ok((client, pid)) => {
                // Who opened it may have given up.
                let _ = report.send(Ok(pid));
                serve(client, received);
            }
            Err(error) => {
                let _ = report.send(Err(error));
            }
        });
        let pid = reported.recv_timeout(PATIENCE).expect("the server says something")?;
        Ok(Self { orders, thread, pid })
    }

    /// The process of the server that serves this session.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Carries out some statements.
    ///
    /// # Errors
    ///
    /// Whatever the server answers, and if it is gone.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn ask(&self, sql: &str) -> Result<Rows, Error> {
        self.send(sql).wait()
    }

    /// Sends some statements, which are carried out after those that were sent before.
    pub fn send(&self, sql: &str) -> Answer {
        let (answer, answered) = mpsc::channel();
        self.orders.send((sql.to_owned(), answer)).expect("a session lives while it has a value");
        Answer(answered)
    }

    /// Closes the session when everything is answered that was asked.
    ///
    /// # Panics
    ///
    /// If the thread that served it panicked.
    pub fn close(self) {
        drop(self.orders);
        self.thread.join().expect("it prints why");
    }
}

impl Answer {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// Whatever the server answers, and if it is gone.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn wait(self) -> Result<Rows, Error> {
        self.0.recv_timeout(PATIENCE).expect("every statement is answered")
    }

    /// The answer, if it is there and was not taken yet.
    ///
    /// # Panics
    ///
    /// If it was taken.
    pub fn poll(&mut self) -> Option<Result<Rows, Error>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("an answer is taken once"),
        }
    }
}

fn open(place: &str) -> Result<(Client, u32), Error> {
    let mut client = Client::connect(place, NoTls)?;
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    Ok((client, pid.unsigned_abs()))
}

fn serve(mut client: Client, orders: mpsc::Receiver<Order>) {
    for (sql, answer) in orders {
        let rows = client.simple_query(&sql).map(|messages| {
            let rows = messages.into_iter().filter_map(|message| {
                if let SimpleQueryMessage::Row(row) = message { Some(texts(&row)) } else { None }
            });
            rows.collect()
        });
        // Nobody may wait for it any more.
        let _ = answer.send(rows);
    }
}

fn texts(row: &SimpleQueryRow) -> Vec<String> {
    (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect()
}
