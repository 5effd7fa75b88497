//! The layout of slots: the paths of a vocabulary in the order in which they are printed.
//!
//! It is made once for a worker and does not change: objects come before what is in them, the fields of the event before those
//! of its metadata, and what is in one object in the order of names.

use super::{FieldRef, Text, vocabulary};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Paths with more steps have no slot that holds a value.
pub(super) const DEEPEST: usize = 16;

/// What is the same for all events of a worker.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) field: FieldRef,
    /// Its key as it is printed, with comma, quotes and colon; `None` where it can't be held.
    pub(super) listed: Option<Text>,
    /// The slots of what is inside it follow it up to this one.
    pub(super) end: u32,
    /// The slot of the object it is in.
    pub(super) parent: u32,
}

/// See [`Slots::used`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Printed {
    pub(super) key: Text,
    pub(super) end: u32,
    pub(super) number: u32,
}

/// The slots of a vocabulary.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) slots: Vec<Slot>,
    /// What printing needs to know of each.
    pub(super) printed: Vec<Printed>,
    /// From here on slots are of the metadata.
    pub(super) metadata: u32,
}

impl Layout {
    /// The field of a slot.
    pub(super) fn field(&self, slot: u32) -> &FieldRef {
        &self.slots[slot as usize].field
    }

    /// Lays out the paths that have a number. Also answers the slot of each number.
    pub(super) fn of_vocabulary() -> (Layout, Vec<u32>) {
        let steps = vocabulary::steps();
        let mut children = vec![Vec::new(); steps.len() + vocabulary::FIRST];
        for (number, (parent, _)) in (vocabulary::FIRST..).zip(&steps) {
            children[*parent as usize].push(number);
        }
        // By name, so that what is printed does not depend on which pipelines the process has known.
        for children in &mut children {
            children.sort_by(|one, other| steps[one - vocabulary::FIRST].1.cmp(&steps[other - vocabulary::FIRST].1));
        }
        let mut layout = Layout::default();
        let mut slot_of = vec![NONE; children.len()];
        for metadata in [false, true] {
            layout.metadata = layout.slots.len() as u32;
            let start = vocabulary::start(metadata) as usize;
            layout.add(&steps, &children, start, &mut Vec::new(), NONE, metadata, &mut slot_of);
        }
        let printed = |slot: &Slot| Printed { key: slot.listed.unwrap_or_default(), end: slot.end, number: slot.field.number };
        layout.printed = layout.slots.iter().map(printed).collect();
        (layout, slot_of)
    }

    #[expect(clippy::too_many_arguments, reason = "it is one walk over one tree")]
    fn add<'s>(
        &mut self,
        steps: &'s [(u32, Box<str>)],
        children: &[Vec<usize>],
        above: usize,
        names: &mut Vec<&'s str>,
        parent: u32,
        metadata: bool,
        slot_of: &mut [u32],
    ) {
        for number in &children[above] {
            names.push(&steps[number - vocabulary::FIRST].1);
            let field = FieldRef::from_names(metadata.then_some("@metadata").into_iter().chain(names.iter().copied())).lasting();
            let slot = self.slots.len() as u32;
            // These two are looked for by their names, and belong to the tree.
            let apart = !metadata && matches!(names[0], "tags" | "@timestamp");
            let above_held = parent == NONE || self.slots[parent as usize].listed.is_some();
            let able = !apart && above_held && names.len() <= DEEPEST;
            let listed = field.path.last().and_then(|last| last.word).filter(|_| able);
            self.slots.push(Slot { field, listed, end: NONE, parent });
            slot_of[*number] = slot;
            self.add(steps, children, *number, names, slot, metadata, slot_of);
            self.slots[slot as usize].end = self.slots.len() as u32;
            names.pop();
        }
    }
}
