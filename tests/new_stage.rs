//! The worked example of ARCHITECTURE.md, compiled and run: a new stage is one file, one entry, one row.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use async_trait::async_trait;
use tidegate_actors::hold::subject_of;
use tidegate_actors::stage::{Stage, Step, Trouble};
use tidegate_schemas::{Mail, Record};
use tidegate_topology::plan::{Known, plan};
use tidegate_topology::spec::MAIL_TOML;

/// Adds evidence to mail that shouts.
struct FrownAtShouting;

#[async_trait]
impl Stage for FrownAtShouting {
    fn name(&self) -> &'static str {
        "frown_at_shouting"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Mail(mut mail) = record else { return Ok(Step::next(record)) };
        if subject_of(&mail.raw).chars().all(|c| !c.is_lowercase()) {
            mail.add("SHOUTING", 0.5, "the subject has no small letter");
        }
        Ok(Step::next(*mail))
    }
}

#[tokio::test]
async fn the_stage_of_the_worked_example_works() {
    let mail = Mail { raw: "Subject: BUY NOW\r\n\r\n".into(), ..Mail::default() };
    let step = FrownAtShouting.work(mail.into()).await.unwrap();
    let Record::Mail(mail) = &step.out[0].1 else { panic!() };
    assert!(mail.has("SHOUTING"));
}

#[test]
fn one_row_puts_it_into_the_lane() {
    let row = "\n[stages.frown_at_shouting]\nreads = \"check_dns\"\n";
    let topology = MAIL_TOML.replacen("reads  = \"check_dns\"", "reads  = \"frown_at_shouting\"", 1) + row;
    let mut known = tidegate::registry::all_known();
    known.push(Known { name: "frown_at_shouting", next: true, diverts: &[] });
    let plan = plan(&topology, &known).unwrap();
    let lane = plan.lanes.iter().find(|lane| lane.name == "check_dns").unwrap();
    let names: Vec<&str> = lane.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(&names[..3], ["check_dns", "frown_at_shouting", "score_spam"]);
}

#[test]
fn the_page_shows_the_very_code_of_this_file() {
    let page = include_str!("../ARCHITECTURE.md");
    let here = include_str!("new_stage.rs");
    let start = here.find("/// Adds evidence").unwrap();
    let end = here.find("#[tokio::test]").unwrap();
    assert!(page.contains(here[start..end].trim_end()), "ARCHITECTURE.md shows another example");
}
