//! Carries parcels to servers, with a lane for each.

use std::fmt;
use std::sync::Arc;

use lock_engine::redis::{Inbox, Parcel, Transport};

use super::ear::Ear;
use super::lane::Lane;
use super::place::{Patience, Place};

/// Connections to independent servers, for plain threads.
pub(crate) struct Lanes {
    lanes: Vec<(Arc<Lane>, Arc<Ear>)>,
}

impl Lanes {
    /// A lane to each of `places`, none of which is connected to yet.
    pub(crate) fn new(places: Vec<Place>, patience: Patience, inbox: &Inbox) -> Self {
        let lane = |place: Place| {
            let ear = Ear::new(place.clone(), patience, inbox);
            (Lane::new(place, patience, &ear), ear)
        };
        Self { lanes: places.into_iter().map(lane).collect() }
    }
}

impl Transport for Lanes {
    fn servers(&self) -> usize {
        self.lanes.len()
    }

    fn send(&self, parcel: Parcel) {
        // One that is for nobody is lost when it is dropped.
        if let Some((lane, _)) = self.lanes.get(parcel.server()) {
            lane.send(parcel);
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
