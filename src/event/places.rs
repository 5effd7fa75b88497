//! Where the fields of the event at hand are, by the numbers of their paths.
//!
//! A pipeline asks for the same few fields again and again (`[source][ip]` a dozen times in the nginx pipeline), and half of
//! them are not there. Once found, or found to be absent, a field costs one look into this table. The table is forgotten by
//! counting: an entry is good while the count it was made at lasts. What was found stays good until an object or array is
//! replaced; what was absent, until anything is added in another way than by a numbered path.

#[derive(Clone, Copy, Debug)]
struct Place {
    /// The count of the found, or that of the absent, at which this was noted.
    at: u32,
    node: u32,
}

/// What is known of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It was in this node.
    Node(u32),
    /// It is not there.
    Absent,
    /// Nothing.
    Nothing,
}

/// See the module's header.
#[derive(Clone, Debug)]
pub(super) struct Places {
    places: Vec<Place>,
    found: u32,
    absent: u32,
}

/// Counts of the found are below, counts of the absent from here on.
const ABSENT: u32 = 1 << 31;

impl Places {
    /// A table for numbers below `paths`; others are not remembered.
    pub(super) fn new(paths: usize) -> Places {
        Places { places: vec![Place { at: 0, node: 0 }; paths], found: 1, absent: ABSENT }
    }

    /// Forgets everything.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.found += 1;
        if self.found == ABSENT {
            self.start_over();
        }
        self.forget_absent();
    }

    /// Forgets what was absent: something was added.
    #[inline]
    pub(super) fn forget_absent(&mut self) {
        if self.absent == u32::MAX {
            self.start_over();
        }
        self.absent += 1;
    }

    #[cold]
    fn start_over(&mut self) {
        self.places.fill(Place { at: 0, node: 0 });
        (self.found, self.absent) = (1, ABSENT);
    }

    /// What is known of a path.
    #[inline]
    pub(super) fn get(&self, path: u32) -> Known {
        match self.places.get(path as usize) {
            Some(place) if place.at == self.found => Known::Node(place.node),
            Some(place) if place.at == self.absent => Known::Absent,
            _ => Known::Nothing,
        }
    }

    /// Notes a path's node.
    #[inline]
    pub(super) fn note(&mut self, path: u32, node: u32) {
        if let Some(place) = self.places.get_mut(path as usize) {
            *place = Place { at: self.found, node };
        }
    }

    /// Forgets what was noted of a path.
    #[inline]
    pub(super) fn forget(&mut self, path: u32) {
        if let Some(place) = self.places.get_mut(path as usize) {
            place.at = 0;
        }
    }

    /// Notes that nothing is at a path.
    #[inline]
    pub(super) fn note_absent(&mut self, path: u32) {
        if let Some(place) = self.places.get_mut(path as usize) {
            place.at = self.absent;
        }
    }
}
