//! A real cluster that does not take documents for a while: they wait, and it is said why, whoever has to put it right.

use super::servers::{Run, World, wait_until};

/// A setting of the cluster, taken back however the test ends.
struct Setting<'w>(&'w World, &'static str);

impl<'w> Setting<'w> {
    fn new(world: &'w World, name: &'static str, value: &str) -> Setting<'w> {
        let (status, answer) =
            world.request("PUT", "_cluster/settings", &format!(r#"{{"persistent":{{"{name}":{value}}}}}"#));
        assert_eq!(status, 200, "{answer}");
        Setting(world, name)
    }
}

impl Drop for Setting<'_> {
    fn drop(&mut self) {
        self.0.request("PUT", "_cluster/settings", &format!(r#"{{"persistent":{{"{}":null}}}}"#, self.1));
    }
}

#[test]
fn documents_wait_for_an_index_that_nobody_may_create_and_for_one_that_takes_no_writes() {
    let mut world = World::with_source("refusals", "", "");
    let index = format!("refusals-{}", world.namespace());
    world.write_to(&index);
    let arrive = |count: usize| {
        wait_until("what has waited", || world.count(&index) == count);
        wait_until("the lag to be zero", || world.lag() == 0);
    };
    world.generate(500, 0.0);
    let no_index = Setting::new(&world, "action.auto_create_index", "false");
    let (run, log) = Run::start_with_log(&world);
    wait_until("the missing index to be noticed", || log.text().contains("missing_index"));
    assert_eq!((world.count(&index), world.lag()), (0, 500));
    drop(no_index);
    arrive(500);

    let settings = |block: &str, value: &str| {
        world.request("PUT", &format!("{index}/_settings"), &format!(r#"{{"index.blocks.{block}":{value}}}"#)).0
    };
    let action = |action: &str| world.request("POST", &format!("{index}/{action}"), "").0;
    // The second is what a disk that is almost full brings.
    let refusals: [(&dyn Fn() -> u16, &dyn Fn() -> u16); 3] = [
        (&|| settings("write", "true"), &|| settings("write", "null")),
        (&|| settings("read_only_allow_delete", "true"), &|| settings("read_only_allow_delete", "null")),
        (&|| action("_close"), &|| action("_open")),
    ];
    for (round, (refuse, allow)) in refusals.into_iter().enumerate() {
        let before = run.metric("logproc_bulk_retries_total");
        assert_eq!(refuse(), 200);
        world.generate(250, 0.0);
        wait_until("the refusal to be met", || run.metric("logproc_bulk_retries_total") > before);
        assert_eq!(world.lag(), 250);
        assert_eq!(allow(), 200);
        arrive(750 + round * 250);
    }
    assert!(log.text().contains("class=\"blocked\""), "{}", log.text());
    assert!(run.stop().success());
    assert!(!std::env::temp_dir().join(world.dead_letter_topic()).exists(), "none of them is a dead letter");
}
