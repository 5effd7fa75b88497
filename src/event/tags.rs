//! `[tags]`: the labels that filters add to an event.

use super::{EMPTY_LIST, Event, List, TAGS, Value};

impl Event {
    /// Adds a tag unless it is present already, as filters do when they fail.
    pub fn tag(&mut self, tag: &str) {
        let list = self.tags();
        let present = self.loaded_values(list).into_iter().any(|value| self.as_str(value) == Some(tag));
        if !present {
            self.push_tag(list, tag);
        }
    }

    /// Adds a tag even if it is present already, as `add_tag` does.
    pub fn append_tag(&mut self, tag: &str) {
        let list = self.tags();
        self.push_tag(list, tag);
    }

    fn push_tag(&mut self, list: List, tag: &str) {
        let text = self.push_str(tag);
        self.push(list, Value::Str(text));
    }

    /// Returns the list of tags, which is created if it is absent. A `tags` that is a single value becomes a list
    /// first.
    fn tags(&mut self) -> List {
        let single = match self.get(&TAGS) {
            Some(Value::Array(list)) => return list,
            single => single,
        };
        let list = self.new_list();
        if let Some(single) = single.filter(|single| *single != Value::Null) {
            self.push(list, single);
        }
        // The root is always an object.
        let _ = self.set_any(&TAGS, Value::Array(list));
        list
    }

    /// Removes a tag. The remaining `tags` are a list.
    pub fn untag(&mut self, tag: &str) {
        if !self.contains(&TAGS) {
            return;
        }
        let list = self.tags();
        let kept: Vec<Value> =
            self.loaded_values(list).into_iter().filter(|value| self.as_str(*value) != Some(tag)).collect();
        self.lists[list.0 as usize] = EMPTY_LIST;
        for value in kept {
            self.push(list, value);
        }
    }
}
