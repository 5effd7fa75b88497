//! From slots to the tree: where an object is taken as a whole, what is held of it is put into one list.

use super::slots::{How, Known};
use super::{Event, List, Value};

impl Event {
    /// Puts all that is held of the event, or of its metadata, into the tree.
    pub(super) fn fold(&mut self, metadata: bool) {
        let slots = self.slots.all(metadata);
        if !self.slots.any() || self.slots.next(slots.0, slots.1).is_none() {
            return;
        }
        let list = if metadata { self.open_metadata() } else { List::ROOT };
        self.fold_into(slots, list);
    }

    /// Puts what is held in a range of slots into the list of the object that they are in.
    fn fold_into(&mut self, (start, end): (u32, u32), list: List) {
        let layout = self.slots.layout();
        let mut at = start;
        while let Some(slot) = self.slots.next(at, end) {
            let (_, inner_end, how) = self.slots.used(slot);
            let inside = (slot + 1, inner_end);
            at = inner_end;
            let field = layout.field(slot);
            let Some(last) = field.path.last() else { continue };
            let node = match how {
                How::Held(value) => {
                    let value = *value;
                    self.append_step(list, last, value)
                }
                How::Implicit => {
                    let inner = self.new_list();
                    self.fold_into(inside, inner);
                    self.append_step(list, last, Value::Object(inner))
                }
                How::Node(node) => {
                    if let Value::Object(inner) = self.nodes[node as usize].value {
                        self.fold_into(inside, inner);
                    }
                    node
                }
            };
            self.slots.release((slot, slot + 1));
            self.nodes[node as usize].number = field.number;
            self.slots.note(field.number, node);
        }
    }

    /// Makes an object that is nowhere but in what is held below it one that is held itself.
    pub(super) fn gather(&mut self, number: u32) {
        let list = self.new_list();
        self.fold_into(self.slots.inside_of(number), list);
        let slot = self.slots.slot_of(number);
        self.slots.release((slot, slot + 1));
        let held = self.slots.hold(number, Value::Object(list));
        debug_assert!(held, "what is below a held value is not held");
    }

    /// Puts what is held below an object of the tree into it.
    pub(super) fn gather_into(&mut self, number: u32, node: u32) {
        let (Some(inside), Value::Object(list)) = (self.slots.extends(number, node), self.nodes[node as usize].value) else { return };
        self.fold_into(inside, list);
        let slot = self.slots.slot_of(number);
        self.slots.release((slot, slot + 1));
        self.slots.note(number, node);
        self.unmark_above(slot);
    }

    /// Takes the value of a path that is held out of its slot.
    pub(super) fn take_held(&mut self, number: u32) -> Value {
        let value = self.slots.value(number);
        let slot = self.slots.slot_of(number);
        self.slots.release((slot, slot + 1));
        if matches!(value, Value::Object(_) | Value::Array(_)) {
            self.slots.clear();
        }
        self.unmark_above(slot);
        value
    }

    /// An object that was nowhere but in what was held below it is an empty one once nothing is.
    fn unmark_above(&mut self, slot: u32) {
        if let Some(empty) = self.slots.unmark_above(slot) {
            debug_assert_eq!(self.slots.get(empty), Known::Absent);
            let list = self.new_list();
            self.slots.hold(empty, Value::Object(list));
        }
    }
}
