//! Folding: the conversion of an object with places to a list of the tree, for access to the object as a whole.

use super::places::{METADATA, ROOT, State};
use super::{END, Event, KeyForm, List, Text, Value};

impl Event {
    /// Converts an object whose members have places to a list of the tree, which its place holds from then on.
    pub(super) fn fold(&mut self, number: u32) -> List {
        let list = match number {
            ROOT => List::ROOT,
            METADATA => List::METADATA,
            _ => self.new_list(),
        };
        let Some(place) = self.places.get(number).copied() else { return list };
        if place.based {
            let text = Text::between(place.from as usize, place.to as usize);
            let filled = self.fill(list, text, false);
            // The text was validated when the record was scanned.
            debug_assert!(filled.is_ok());
            self.follow_places(number, list);
        }
        for inside in self.places.inside(number) {
            let Some(place) = self.places.get(inside).copied().filter(|place| !place.based) else { continue };
            let value = if place.state == State::Open { Value::Object(self.fold(inside)) } else { place.value };
            let name = self.places.layout.known[inside as usize].name.clone();
            let plain = super::encode::plain_run(name.as_bytes()) == name.len();
            let key = self.push_str(&name);
            self.append(list, key, if plain { KeyForm::Plain } else { KeyForm::Special }, value);
        }
        self.places.overwrite(number, Value::Object(list));
        list
    }

    /// Applies the values in places to the list read from the record, and removes the members that have been removed.
    fn follow_places(&mut self, number: u32, list: List) {
        let mut at = self.lists[list.0 as usize].first;
        while at != END {
            let node = self.nodes[at as usize];
            if let Some(known) = self.places.child(number, self.text.as_bytes(), node.key) {
                match self.places.get(known).copied() {
                    Some(place) if place.based => {
                        let value =
                            if place.state == State::Open { Value::Object(self.fold(known)) } else { place.value };
                        self.nodes[at as usize].value = value;
                    }
                    _ => drop(self.unlink_node(list, at)),
                }
            }
            at = node.next;
        }
    }

    /// Returns the list of the event's fields.
    pub fn root(&mut self) -> List {
        self.top(ROOT)
    }

    /// Returns the list of the fields in `@metadata`.
    pub fn metadata(&mut self) -> List {
        self.top(METADATA)
    }

    fn top(&mut self, number: u32) -> List {
        match self.take_up(number) {
            Value::Object(list) => list,
            // The two roots are always objects.
            _ => List::ROOT,
        }
    }
}
