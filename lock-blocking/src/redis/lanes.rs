//! Carries parcels to independent servers, with a lane for each.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use lock_engine::redis::{Inbox, Parcel, Transport};
use lock_proto::Fault;

use super::ear::Ear;
use super::lane::Lane;
use super::place::{Patience, Place};
use super::queue::Report;

/// What is still on its way when the time to connect is over.
const GRACE: Duration = Duration::from_millis(100);

/// What came of the first attempt to connect to the server of that number.
type Outcome = (usize, Result<(), Fault>);

/// Connections to independent servers, for plain threads.
pub(crate) struct Lanes {
    lanes: Vec<(Arc<Lane>, Arc<Ear>)>,
}

impl Lanes {
    /// Connects to a majority of the servers at `places`. If that is impossible, the error tells
    /// of which server.
    pub(crate) fn connect(
        places: Vec<Place>,
        patience: Patience,
        inbox: &Inbox,
    ) -> Result<Self, (Option<usize>, Fault)> {
        let (to, reports) = channel();
        let mut lanes = Self { lanes: Vec::with_capacity(places.len()) };
        for (server, place) in places.into_iter().enumerate() {
            let ear = Ear::new(place.clone(), patience, inbox);
            let report = Some(Report { server, to: to.clone() });
            let lane = Lane::start(place, patience, &ear, Weak::new(), report);
            lanes.lanes.push((lane.map_err(|fault| (None, fault))?, ear));
        }
        drop(to);
        lanes.wait_for_majority(&reports, patience.connect)?;
        Ok(lanes)
    }

    fn wait_for_majority(
        &self,
        reports: &Receiver<Outcome>,
        within: Duration,
    ) -> Result<(), (Option<usize>, Fault)> {
        let started = Instant::now();
        let needed = self.lanes.len() / 2 + 1;
        let (mut connected, mut failed) = (0, 0);
        while connected < needed {
            let left = (within + GRACE).saturating_sub(started.elapsed());
            match reports.recv_timeout(left) {
                Ok((_, Ok(()))) => connected += 1,
                Ok((server, Err(fault))) => {
                    failed += 1;
                    if self.lanes.len() - failed < needed {
                        return Err((Some(server), fault));
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let fault = format!("fewer than {needed} servers answered within {within:?}");
                    return Err((None, Fault::not_sent(fault)));
                }
            }
        }
        Ok(())
    }
}

impl Transport for Lanes {
    fn servers(&self) -> usize {
        self.lanes.len()
    }

    fn send(&self, parcel: Parcel) {
        match self.lanes.get(parcel.server()) {
            Some((lane, _)) if self.lanes.len() == 1 => lane.send(parcel, 0),
            // All are asked before any is waited for.
            Some((lane, _)) => lane.post(parcel, 0),
            None => parcel.fail(Fault::not_sent("there is no such server")),
        }
    }

    fn close(&self) {
        for (lane, ear) in &self.lanes {
            lane.close();
            ear.close();
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("servers", &self.lanes.len()).finish_non_exhaustive()
    }
}
