use super::*;
use proptest::prelude::*;

fn mistakes(text: &str) -> Vec<String> {
    parse(text).1.iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_pipeline_reads_in_the_order_it_is_written() {
    let (spec, mistakes) = parse(MAIL_TOML);
    assert_eq!(mistakes, []);
    let spec = spec.unwrap();
    let names: Vec<&str> = spec.stages.iter().map(|s| s.stage.name.as_str()).collect();
    assert_eq!(names[..5], ["check_dns", "score_spam", "detect_sender", "rewrite_links", "deliver"]);
    let deliver = &spec.stages[4];
    assert_eq!(deliver.deadline, Some(Duration::from_secs(300)));
    assert_eq!(deliver.divert["retry-30m"].name, "retry-30m");
    assert_eq!(spec.topics[0].partitions, 2);
    assert_eq!(MAIL_TOML.lines().nth(deliver.stage.line - 1), Some("[stages.deliver]"));
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let text = "\
[topics]
in = { partition = 2 }
Out = {}
deep = { partitions = 0 }
flat = 3

[stages.first]
read = 'log:in'
deadline = '5m'
batch = -1

[stages.second]
reads = [1, '']
divert = 'held'
writes = ['out']

[stages]
third = 'log:in'

[topic]
";
    assert_eq!(
        mistakes(text),
        [
            "line 2: unknown key of a topic `partition`; did you mean `partitions`?",
            "line 3: name of topic `Out` must be at most 64 of `a-z`, `0-9`, `-` and `_`",
            "line 4: `partitions` must be a whole number from 1 to 1024",
            "line 5: topic `flat` must be a table, `flat = { partitions = 2 }`",
            "line 7: stage `first` needs `reads`: `log:TOPIC`, or the stage before it",
            "line 8: unknown key of a stage `read`; did you mean `reads`?",
            "line 9: `deadline` must be a whole number from 1 to 86400",
            "line 10: `batch` must be a whole number from 1 to 10000",
            "line 13: `reads` is empty",
            "line 13: `reads` must be a text, not integer",
            "line 14: `divert` must be a table, `divert = { held = \"held\" }`",
            "line 15: `writes` must be a text, not array",
            "line 18: stage `third` must be a table, `[stages.third]`",
            "line 20: unknown section `topic`; did you mean `topics`?",
        ]
    );
}

#[test]
fn a_text_that_is_no_toml_gives_its_line_and_no_spec() {
    let (spec, mistakes) = parse("[topics]\nin = {}\n[stages.first\nreads = log\n");
    assert_eq!(spec, None);
    assert!(mistakes.iter().any(|m| m.line == 3), "{mistakes:?}");
}

#[test]
fn a_word_far_from_all_known_ones_gets_no_suggestion() {
    assert_eq!(suggestion("delivr", ["deliver", "hold"]), "; did you mean `deliver`?");
    assert_eq!(suggestion("xyz", ["abc", "hold"]), "");
    assert_eq!(suggestion("deliver", std::iter::empty()), "");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_reported(text in "\\PC{0,200}") {
        let (spec, mistakes) = parse(&text);
        prop_assert!(spec.is_some() || !mistakes.is_empty());
    }

    #[test]
    fn any_damage_to_a_good_text_is_read_or_reported(
        at in 0..MAIL_TOML.len(),
        length in 0..40usize,
        instead in "[a-z\\[\\]{}=\"',.#\n0-9 ]{0,12}",
    ) {
        let mut octets = MAIL_TOML.as_bytes().to_vec();
        let end = (at + length).min(octets.len());
        octets.splice(at..end, instead.into_bytes());
        let text = String::from_utf8_lossy(&octets).into_owned();
        let lines = text.lines().count() + 1;
        let (spec, mistakes) = parse(&text);
        prop_assert!(spec.is_some() || !mistakes.is_empty());
        prop_assert!(mistakes.iter().all(|m| m.line <= lines && !m.what.is_empty()));
    }
}
