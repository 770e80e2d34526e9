//! What a Redis server is sent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use lock_tests::redis::Server;

/// Counts what clients send to a server, by `MONITOR`: unlike its statistics, that tells commands
/// of clients and commands of scripts apart.
pub struct Traffic {
    connection: TcpStream,
    count: Arc<AtomicU64>,
    reader: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Begins to count.
    pub fn count(server: &Server) -> Self {
        let mut connection = TcpStream::connect(server.address()).expect("the server is up");
        connection.write_all(b"MONITOR\r\n").expect("the server is up");
        let mut lines = BufReader::new(connection.try_clone().expect("a descriptor is left"));
        let mut answer = String::new();
        lines.read_line(&mut answer).expect("the server answers");
        assert_eq!(answer, "+OK\r\n", "the server is not watched");
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        let reader = thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                // What this bench itself asks of the server comes over its Unix socket.
                let from_client = !line.contains(" lua] ") && !line.contains(" unix:");
                counter.fetch_add(u64::from(from_client), Ordering::Relaxed);
            }
        });
        Self { connection, count, reader: Some(reader) }
    }

    /// How many commands there were.
    pub fn end(mut self) -> u64 {
        self.stop();
        self.count.load(Ordering::Relaxed)
    }

    fn stop(&mut self) {
        // Closed already, if the server is gone.
        let _ = self.connection.shutdown(Shutdown::Read);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only counts");
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How often the server found something to read, the question included.
pub fn reads(server: &Server) -> u64 {
    let statistics = server.info("stats");
    statistics["total_reads_processed"].parse().expect("Redis counts in decimals")
}
