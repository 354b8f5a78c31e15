//! The classifier on made-up mail, on real mail where there is some, on wrong marks, and on disk.

use super::*;
use crate::score_spam::corpora::{Sample, ham_and_spam};
use proptest::prelude::*;

const HAM: &[&str] =
    &["minutes", "meeting", "patch", "regards", "attached", "review", "thursday", "agenda", "budget"];
const SPAM: &[&str] =
    &["winner", "cheap", "pills", "offer", "click", "guaranteed", "viagra", "credit", "unsubscribe"];

/// The n-th made-up mail of a class: words of its class among words of everybody.
fn made_up(n: usize, spam: bool) -> Vec<u8> {
    let own = if spam { SPAM } else { HAM };
    let pick = |k: usize| own[(n * 7 + k * 3) % own.len()];
    let words: Vec<String> = (0..12).map(|k| format!("{} the and {}", pick(k), (n * 31 + k) % 97)).collect();
    let from = if spam { "deals@offers.test" } else { "ann@corp.test" };
    format!("From: {from}\r\nSubject: {} {}\r\nX-N: {n}\r\n\r\n{}\r\n", pick(1), pick(2), words.join(" "))
        .into_bytes()
}

fn trained(marks: usize) -> Model {
    let mut model = Model::default();
    for n in 0..marks {
        model.learn(&format!("s{n}"), &made_up(n, true), true);
        model.learn(&format!("h{n}"), &made_up(n, false), false);
    }
    model
}

fn probability(model: &Model, raw: &[u8]) -> f32 {
    model.score(raw).unwrap().probability
}

#[test]
fn an_untrained_model_says_nothing() {
    let mut model = Model::default();
    for n in 0..30 {
        model.learn(&format!("s{n}"), &made_up(n, true), true);
    }
    assert_eq!(model.score(&made_up(99, true)), None);
    assert_eq!((model.marks(), model.is_trained()), ((0, 30), false));
}

#[test]
fn a_trained_model_tells_the_classes_apart_and_says_by_which_words() {
    let model = trained(60);
    let spam = model.score(&made_up(1_000, true)).unwrap();
    let ham = model.score(&made_up(1_000, false)).unwrap();
    assert!(spam.probability > 0.9 && ham.probability < 0.1, "{spam:?} {ham:?}");
    let known = |word: &String, own: &[&str]| own.contains(&word.as_str()) || word.contains(".test");
    assert!(!spam.telling.is_empty() && spam.telling.iter().any(|w| known(w, SPAM)), "{:?}", spam.telling);
    let mut once = spam.telling.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), spam.telling.len());
    assert!(!ham.telling.iter().any(|w| SPAM.contains(&w.as_str())), "{:?}", ham.telling);
}

#[test]
fn the_same_mark_twice_changes_nothing() {
    let mut model = trained(30);
    let before = probability(&model, &made_up(7, true));
    assert!(!model.learn("s3", &made_up(3, true), false));
    assert_eq!(probability(&model, &made_up(7, true)).to_bits(), before.to_bits());
    assert_eq!(model.marks(), (30, 30));
}

#[test]
fn the_same_marks_give_the_same_model_to_the_bit() {
    let (one, other) = (trained(40), trained(40));
    for n in 0..20 {
        let raw = made_up(500 + n, n % 2 == 0);
        assert_eq!(probability(&one, &raw).to_bits(), probability(&other, &raw).to_bits());
    }
}

#[test]
fn all_spam_first_and_all_ham_after_teaches_as_well() {
    let mut model = Model::default();
    for n in 0..150 {
        model.learn(&format!("s{n}"), &made_up(n, true), true);
    }
    for n in 0..150 {
        model.learn(&format!("h{n}"), &made_up(n, false), false);
    }
    let right = |n: usize| {
        probability(&model, &made_up(n, true)) > 0.7 && probability(&model, &made_up(n, false)) < 0.3
    };
    assert_eq!((900..950).filter(|n| right(*n)).count(), 50);
}

#[test]
fn a_saved_model_comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let model = trained(60);
    model.save(&path).unwrap();
    let mut back = Model::load(&path).unwrap();
    assert_eq!(back.marks(), model.marks());
    for n in 0..20 {
        let raw = made_up(700 + n, n % 2 == 0);
        assert_eq!(back.score(&raw), model.score(&raw));
    }
    assert!(!back.learn("s3", &made_up(3, true), true), "ids of marks are saved too");
}

#[test]
fn a_file_that_is_not_there_is_an_empty_model() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Model::load(&folder.path().join("model")).unwrap().marks(), (0, 0));
}

#[test]
fn a_damaged_file_is_an_error_and_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    trained(25).save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() - 9], &flipped, b"", b"TGMODEL1"] {
        std::fs::write(&path, damaged).unwrap();
        assert!(matches!(Model::load(&path), Err(ModelError::Damaged(_))));
    }
    std::fs::write(&path, b"TGMODEL9 of the future").unwrap();
    let (empty, error) = Model::load_or_new(&path);
    assert!(matches!(error, Some(ModelError::Version(_))), "{error:?}");
    assert_eq!((empty.marks(), path.exists()), ((0, 0), false));
    assert!(path.with_extension("damaged").exists());
}

#[test]
fn marks_in_the_journal_survive_without_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let shared = Model::shared();
    for n in 0..25 {
        for spam in [true, false] {
            let lesson = Lesson::new(&format!("{n}{spam}"), &made_up(n, spam), spam);
            assert!(learn_durably(&shared, &path, &lesson).unwrap());
            assert!(!learn_durably(&shared, &path, &lesson).unwrap());
        }
    }
    assert!(!path.exists(), "too few marks for a snapshot");
    let back = Model::load(&path).unwrap();
    let raw = made_up(600, true);
    assert_eq!(back.score(&raw), shared.read().score(&raw));
    assert_eq!(back.marks(), (25, 25));
}

#[test]
fn a_torn_end_of_the_journal_costs_only_the_torn_mark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let shared = Model::shared();
    for n in 0..5 {
        learn_durably(&shared, &path, &Lesson::new(&n.to_string(), &made_up(n, true), true)).unwrap();
    }
    let journal = path.with_extension("marks");
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(Model::load(&path).unwrap().marks(), (0, 4));
    let again = Lesson::new("4", &made_up(4, true), true);
    let shared = Arc::new(parking_lot::RwLock::new(Model::load(&path).unwrap()));
    assert!(learn_durably(&shared, &path, &again).unwrap());
    assert_eq!(Model::load(&path).unwrap().marks(), (0, 5), "what follows a torn end is read");
}

#[test]
fn a_snapshot_forgets_the_journal_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let shared = Model::shared();
    for n in 0..5 {
        learn_durably(&shared, &path, &Lesson::new(&n.to_string(), &made_up(n, true), true)).unwrap();
    }
    shared.read().save(&path).unwrap();
    assert!(!path.with_extension("marks").exists());
    assert_eq!(Model::load(&path).unwrap().marks(), (0, 5));
}

struct Measured {
    /// Share of pairs of ham and spam in the wrong order.
    disorder: f64,
    /// Ham so sure to be spam that the classifier alone would have it tagged.
    false_alarms: usize,
    /// Share of spam called spam at 0.5.
    recall: f64,
}

/// Trains on the first part and measures on the rest; every `flip`-th mark is wrong (0 = none).
fn measure(samples: &[Sample], train: usize, flip: usize) -> Measured {
    let (taught, asked) = samples.split_at(train);
    let mut model = Model::default();
    for (n, sample) in taught.iter().enumerate() {
        let wrong = flip > 0 && n % flip == flip - 1;
        model.learn(&sample.name, &sample.raw, sample.spam != wrong);
    }
    let said: Vec<(f32, bool)> = asked.iter().map(|s| (probability(&model, &s.raw), s.spam)).collect();
    let of = |spam: bool| said.iter().filter(move |s| s.1 == spam).map(|s| s.0);
    let pairs = of(true).flat_map(|s| {
        of(false).map(move |h| {
            if h > s {
                1.0
            } else if h == s {
                0.5
            } else {
                0.0
            }
        })
    });
    let (hams, spams) = (of(false).count(), of(true).count());
    Measured {
        disorder: pairs.sum::<f64>() / (hams * spams) as f64,
        false_alarms: of(false).filter(|p| *p > 0.998).count(),
        recall: of(true).filter(|p| *p > 0.5).count() as f64 / spams as f64,
    }
}

#[test]
fn real_ham_and_spam_are_told_apart_after_six_hundred_marks() {
    let Some(samples) = ham_and_spam(1_000) else { return };
    let m = measure(&samples, 600, 0);
    println!("disorder {:.5}, false alarms {}, recall {:.3}", m.disorder, m.false_alarms, m.recall);
    assert!(m.disorder < 0.01 && m.false_alarms <= 2 && m.recall > 0.9);
}

#[test]
fn one_wrong_mark_in_twenty_does_not_ruin_the_model() {
    let Some(samples) = ham_and_spam(1_000) else { return };
    let m = measure(&samples, 600, 20);
    println!("disorder {:.5}, false alarms {}, recall {:.3}", m.disorder, m.false_alarms, m.recall);
    assert!(m.disorder < 0.02 && m.false_alarms <= 3 && m.recall > 0.85);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn any_octets_can_be_learned_and_scored(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
        let lesson = Lesson::new("x", &raw, true);
        prop_assert_eq!(lesson.features.groups.iter().all(|g| g.len() < 10_000), true);
    }
}
