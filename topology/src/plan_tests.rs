use super::*;
use crate::spec::MAIL_TOML;
use proptest::prelude::*;

const fn known(name: &'static str, next: bool, diverts: &'static [&'static str]) -> Known {
    Known { name, next, diverts }
}

const KNOWN: &[Known] = &[
    known("check_dns", true, &[]),
    known("score_spam", true, &["held"]),
    known("detect_sender", true, &["held", "signals"]),
    known("rewrite_links", true, &[]),
    known("deliver", false, &["retry-1m", "retry-5m", "retry-30m", "retry-2h", "outbound"]),
    known("requeue", true, &[]),
    known("hold", false, &[]),
    known("learn_whitelist", false, &[]),
    known("rate_reputation", false, &[]),
    known("train_filter", false, &[]),
    known("keep_ledger", false, &[]),
];

fn shipped() -> Plan {
    plan(MAIL_TOML, KNOWN).unwrap()
}

fn mistakes(text: &str) -> Vec<String> {
    plan(text, KNOWN).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_pipeline_prints_as_its_golden_text() {
    assert_eq!(shipped().text(), include_str!("../golden/mail.txt"));
}

#[test]
fn the_shipped_pipeline_prints_as_its_golden_dot() {
    assert_eq!(shipped().dot(), include_str!("../golden/mail.dot"));
}

#[test]
fn the_shipped_pipeline_prints_as_its_golden_mermaid() {
    assert_eq!(shipped().mermaid(), include_str!("../golden/mail.mmd"));
}

#[test]
fn a_stage_that_reads_several_topics_is_a_lane_on_each() {
    let plan = shipped();
    let lanes: Vec<&LanePlan> = plan.lanes.iter().filter(|l| l.name == "requeue").collect();
    let topics: Vec<&str> = lanes.iter().map(|l| l.topic.as_str()).collect();
    assert_eq!(topics, ["retry-1m", "retry-5m", "retry-30m", "retry-2h"]);
    assert!(lanes.iter().all(|l| l.batch == 64 && l.writes.as_deref() == Some("outbound")));
}

#[test]
fn limits_that_are_not_set_have_their_defaults() {
    let plan = shipped();
    let first = &plan.lanes[0];
    assert_eq!((first.batch, first.batch_bytes, first.partitions), (BATCH, BATCH_BYTES, 2));
    assert_eq!(first.stages[0].deadline, DEADLINE);
}

#[test]
fn a_part_of_the_plan_has_the_lanes_of_the_stages_named() {
    let part = shipped().only(&["score_spam", "hold"]).unwrap();
    let lanes: Vec<&str> = part.lanes.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(lanes, ["check_dns", "hold"]);
    assert_eq!(part.topics, shipped().topics);
    let mistakes = shipped().only(&["deliver", "holt", "zzz"]).unwrap_err();
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(mistakes, ["no lane has a stage `holt`; did you mean `hold`?", "no lane has a stage `zzz`"]);
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let text = "\
[topics]
accepted = {}
outbound = {}
signals = {}

[stages.check_dns]
reads = 'accepted'

[stages.score_spm]
reads = 'check_dns'

[stages.detect_sender]
reads = 'check_dns'
divert = { held = 'hold', signls = 'signals' }
writes = 'outbuond'

[stages.deliver]
reads = ['log:outbound', 'check_dns']
batch = 5

[stages.hold]
reads = ['log:outbound', 'log:outbound']
writes = 'outbound'

[stages.rewrite_links]
reads = 'log:accepted'
";
    assert_eq!(
        mistakes(text),
        [
            "line 4: topic `signals` has no reader: it would only grow",
            "line 7: `check_dns` reads an unknown stage `accepted`; the topic is `log:accepted`",
            "line 9: unknown stage `score_spm`; did you mean `score_spam`?",
            "line 12: `detect_sender` may divert to `signals`: name its topic in `divert`",
            "line 12: stage `check_dns` is read directly by `score_spm` already; let it write to a topic and \
             read that twice",
            "line 14: `detect_sender` has no way out named `signls`; did you mean `signals`?",
            "line 14: unknown topic `hold`",
            "line 15: unknown topic `outbuond`; did you mean `outbound`?",
            "line 17: `deliver` may divert to `outbound`: name its topic in `divert`",
            "line 17: `deliver` may divert to `retry-1m`: name its topic in `divert`",
            "line 17: `deliver` may divert to `retry-2h`: name its topic in `divert`",
            "line 17: `deliver` may divert to `retry-30m`: name its topic in `divert`",
            "line 17: `deliver` may divert to `retry-5m`: name its topic in `divert`",
            "line 17: `deliver`: stage does not start a lane: `batch` and `batch_bytes` stand with the stage \
             that does",
            "line 17: stage `check_dns` is read directly by `score_spm` already; let it write to a topic and \
             read that twice",
            "line 17: stage `deliver` reads one stage, or one or more topics; join other ways through a topic",
            "line 22: stage `hold` reads topic `outbound` twice",
            "line 23: `hold` lets nothing go on, so it cannot write",
            "line 25: what `rewrite_links` lets go on has nowhere to go: name a topic with `writes`",
        ]
    );
}

#[test]
fn a_circle_of_direct_hops_is_a_mistake_and_told_once() {
    let text = "\
[topics]
[stages.check_dns]
reads = 'rewrite_links'
[stages.score_spam]
reads = 'check_dns'
divert = { held = 'held' }
[stages.rewrite_links]
reads = 'score_spam'
[topics.held]
[stages.hold]
reads = 'log:held'
";
    assert_eq!(
        mistakes(text),
        ["line 2: stages read each other in a circle and no topic starts it: \
          score_spam -> rewrite_links -> check_dns"]
    );
}

#[test]
fn a_stage_that_others_read_directly_cannot_write_and_must_let_go_on() {
    let text = "\
[topics]
accepted = {}
[stages.check_dns]
reads = 'log:accepted'
writes = 'accepted'
[stages.hold]
reads = 'check_dns'
[stages.train_filter]
reads = 'hold'
";
    assert_eq!(
        mistakes(text),
        [
            "line 5: `check_dns` is read directly by `hold`, so it cannot write",
            "line 8: `hold` lets nothing go on, so `train_filter` would wait for ever",
        ]
    );
}

#[test]
fn a_row_that_does_not_read_is_not_blamed_on_its_topic() {
    let text = "[topics]\naccepted = {}\n[stages.hold]\nread = 'log:accepted'\n";
    assert_eq!(
        mistakes(text),
        [
            "line 3: stage `hold` needs `reads`: `log:TOPIC`, or the stage before it",
            "line 4: unknown key of a stage `read`; did you mean `reads`?",
        ]
    );
}

#[test]
fn nothing_is_no_topology() {
    assert_eq!(mistakes(""), ["there is no stage: name at least one under `[stages]`"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any small table of right and wrong names: a plan that comes out is sound.
    #[test]
    fn any_table_is_planned_or_reported(rows in proptest::collection::vec((0..7usize, 0..9usize, 0..5usize), 0..7)) {
        const STAGES: [&str; 7] =
            ["check_dns", "score_spam", "rewrite_links", "deliver", "hold", "requeue", "nobody"];
        const READS: [&str; 9] = [
            "log:a", "log:b", "log:zzz", "check_dns", "score_spam", "rewrite_links", "hold", "nobody", "requeue",
        ];
        let mut text = "[topics]\na = {}\nb = {}\n".to_owned();
        let mut seen = BTreeSet::new();
        for (stage, reads, writes) in rows {
            if !seen.insert(stage) {
                continue;
            }
            let stage = STAGES[stage];
            text.push_str(&format!("[stages.{stage}]\nreads = '{}'\n", READS[reads]));
            if let Some(topic) = ["a", "b", "zzz"].get(writes) {
                text.push_str(&format!("writes = '{topic}'\n"));
            }
            if stage == "score_spam" {
                text.push_str("divert = { held = 'b' }\n");
            }
        }
        match plan(&text, KNOWN) {
            Err(mistakes) => prop_assert!(!mistakes.is_empty()),
            Ok(plan) => {
                let mut placed: Vec<&str> = plan.lanes.iter().flat_map(|l| &l.stages).map(|s| s.name.as_str()).collect();
                placed.sort_unstable();
                let rows = text.lines().filter(|l| l.starts_with("[stages.")).count();
                prop_assert_eq!(placed.len(), rows, "each stage stands in one lane: {:?}", placed);
                for lane in &plan.lanes {
                    let last = KNOWN.iter().find(|k| k.name == lane.stages.last().unwrap().name).unwrap();
                    prop_assert_eq!(lane.writes.is_some(), last.next);
                }
            }
        }
    }
}
