//! From places to the tree: where an object is needed as a whole, what is in it is put into one list.

use super::places::{METADATA, ROOT, State};
use super::{END, Event, KeyForm, List, Text, Value};

impl Event {
    /// Takes an object whose members have places into the tree. Its place holds the list from now on.
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
            // The text was checked when the record was scanned.
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

    /// Gives what was read from the record the values that are in places, and removes what is not there any more.
    fn follow_places(&mut self, number: u32, list: List) {
        let mut at = self.lists[list.0 as usize].first;
        while at != END {
            let node = self.nodes[at as usize];
            if let Some(known) = self.places.child(number, self.text.as_bytes(), node.key) {
                match self.places.get(known).copied() {
                    Some(place) if place.based => {
                        let value = if place.state == State::Open { Value::Object(self.fold(known)) } else { place.value };
                        self.nodes[at as usize].value = value;
                    }
                    _ => drop(self.unlink_node(list, at)),
                }
            }
            at = node.next;
        }
    }

    /// The fields at the top of the event.
    pub fn root(&mut self) -> List {
        self.top(ROOT)
    }

    /// The list that holds `@metadata`.
    pub fn metadata(&mut self) -> List {
        self.top(METADATA)
    }

    fn top(&mut self, number: u32) -> List {
        match self.take_up(number) {
            Value::Object(list) => list,
            // The tops are always objects.
            _ => List::ROOT,
        }
    }
}
