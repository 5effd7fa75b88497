//! `[tags]`: what filters note on an event.

use super::{EMPTY_LIST, Event, List, TAGS, Value};

impl Event {
    /// Adds to `[tags]` unless it is there already, as filters do when they fail.
    pub fn tag(&mut self, tag: &str) {
        let list = self.tags();
        let present = self.loaded_values(list).into_iter().any(|value| self.as_str(value) == Some(tag));
        if !present {
            self.push_tag(list, tag);
        }
    }

    /// Adds to `[tags]` even where it is there already, as `add_tag` does.
    pub fn append_tag(&mut self, tag: &str) {
        let list = self.tags();
        self.push_tag(list, tag);
    }

    fn push_tag(&mut self, list: List, tag: &str) {
        let text = self.push_str(tag);
        self.push(list, Value::Str(text));
    }

    /// The list of tags, made where there is none. A `tags` that is a single value becomes a list first.
    fn tags(&mut self) -> List {
        let single = match self.get(&TAGS) {
            Some(Value::Array(list)) => return list,
            single => single,
        };
        let list = self.new_list();
        if let Some(single) = single.filter(|single| *single != Value::Null) {
            self.push(list, single);
        }
        // All fields together are always an object.
        let _ = self.set_any(&TAGS, Value::Array(list));
        list
    }

    /// Removes a tag. What is left is a list.
    pub fn untag(&mut self, tag: &str) {
        if !self.contains(&TAGS) {
            return;
        }
        let list = self.tags();
        let kept: Vec<Value> = self.loaded_values(list).into_iter().filter(|value| self.as_str(*value) != Some(tag)).collect();
        self.lists[list.0 as usize] = EMPTY_LIST;
        for value in kept {
            self.push(list, value);
        }
    }
}
