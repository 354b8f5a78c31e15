//! What a lane makes of its stages' answers, and of their deaths.

use crate::flight::{Flight, Hop};
use crate::generation::Reply;
use crate::health::LaneState;
use crate::lane::{Death, Ended, Hops, Lane};
use crate::log::Output;
use crate::supervise::Decision;
use futures::{FutureExt, StreamExt};
use std::time::Duration;
use tidegate_actors::stage::{Port, Step, Trouble};
use tidegate_schemas::Record;
use tokio::time::Instant;

/// A record that asks for a longer wait is asked again after this: its reason may be gone by then, and the
/// clock it went by may have been set.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// A record that asks for no wait would spin.
const SHORTEST_RETRY: Duration = Duration::from_millis(5);

impl Lane {
    pub(crate) fn send(
        &self,
        index: usize,
        stage: usize,
        record: Record,
        flight: &mut Flight,
        hops: &mut Hops,
    ) {
        let Some(generation) = &self.generation else { return };
        if let Some(hop) = flight.enter(index, stage, Instant::now()) {
            hops.push(generation.send(hop, record));
        }
    }

    /// Takes this answer and all others that are there already.
    pub(crate) fn answers(&mut self, first: Reply, flight: &mut Flight, hops: &mut Hops) -> Option<Death> {
        let mut death = self.answer(first, flight, hops);
        while let Some(Some(reply)) = hops.next().now_or_never() {
            let another = self.answer(reply, flight, hops);
            death = death.or(another);
        }
        death
    }

    fn answer(&mut self, reply: Reply, flight: &mut Flight, hops: &mut Hops) -> Option<Death> {
        let Reply { hop, answer } = reply;
        let Ok(worked) = answer else {
            return Some(Death { stage: hop.stage, why: None, culprits: None });
        };
        let meters = self.parts.meters.stages.get(hop.stage)?;
        meters.seconds.observe(worked.took.as_secs_f64());
        if !flight.leave(&hop) {
            return None;
        }
        if !matches!(worked.result, Err(Trouble::Retry { .. }))
            && let Some(progress) = self.progress.get_mut(hop.stage)
        {
            *progress = Instant::now();
        }
        match worked.result {
            Ok(step) => self.follow(hop, step, flight, hops),
            Err(Trouble::Retry { after, why }) => {
                meters.retry.inc();
                tracing::debug!(stage = self.stage_name(hop.stage), %why, ?after, "a record is tried again later");
                flight.again(hop.index, Instant::now() + after.clamp(SHORTEST_RETRY, LONGEST_RETRY));
            }
            Err(Trouble::Refuse { why }) => {
                meters.refuse.inc();
                self.parts.supervision.worked();
                self.bury_in(hop.index, hop.stage, &why, flight);
            }
            Err(Trouble::Broken { why }) => {
                return Some(Death { stage: hop.stage, why: Some(why), culprits: Some(vec![hop.index]) });
            }
        }
        None
    }

    /// Does what a step says: on to the next stage, or into what will be committed.
    fn follow(&mut self, hop: Hop, step: Step, flight: &mut Flight, hops: &mut Hops) {
        let Step { out, writes } = step;
        let plan = self.parts.plan.clone();
        let row = plan.stages.get(hop.stage);
        let (Some(row), Some(meters)) = (row, self.parts.meters.stages.get(hop.stage)) else { return };
        let last = hop.stage + 1 == plan.stages.len();
        if out.is_empty() {
            meters.done.inc();
        }
        let mut outputs = Vec::with_capacity(out.len());
        let mut onward = Vec::new();
        for (port, record) in out {
            let topic = match &port {
                Port::Next if !last => {
                    meters.next.inc();
                    onward.push(record);
                    continue;
                }
                Port::Next => {
                    meters.next.inc();
                    plan.writes.as_ref()
                }
                Port::Divert(name) => {
                    meters.divert.inc();
                    row.diverts.get(*name)
                }
            };
            let Some(topic) = topic else {
                // The plan was checked against what the registry says of the stage; the stage does not hold to it.
                let why = format!("the stage lets a record go by {port:?}, which the topology does not name");
                self.bury_in(hop.index, hop.stage, &why, flight);
                return;
            };
            outputs.push(Output { topic: topic.clone(), key: record.key(), value: record.encode() });
        }
        flight.made(hop.index, outputs, writes);
        for record in onward {
            self.send(hop.index, hop.stage + 1, record, flight, hops);
        }
        if flight.settle(hop.index) {
            self.parts.supervision.worked();
        }
    }

    /// Records that did not come back in time. A stage that works off a long batch is late with its last
    /// records, but it gets others done; so the time counts from its last answer.
    pub(crate) fn stuck(&self, flight: &Flight) -> Option<Death> {
        let now = Instant::now();
        let mut late = flight.overdue(now, &self.deadlines);
        late.retain(|hop| {
            let still = self.progress.get(hop.stage).map(|at| now - *at);
            still.zip(self.deadlines.get(hop.stage)).is_some_and(|(still, deadline)| still >= *deadline)
        });
        let stage = late.first()?.stage;
        let deadline = self.deadlines.get(stage)?;
        let culprits = late.iter().filter(|h| h.stage == stage).map(|h| h.index).collect();
        let why = format!("no answer in {} s", deadline.as_secs_f64());
        Some(Death { stage, why: Some(why), culprits: Some(culprits) })
    }

    /// A generation died: finds whom to suspect, buries who has killed too often, and decides how to go on.
    pub(crate) async fn died(
        &mut self,
        death: Death,
        flight: &mut Flight,
        hops: &mut Hops,
    ) -> Result<(), Ended> {
        hops.clear();
        let panics = match self.generation.take() {
            Some(generation) => generation.end().await,
            None => Vec::new(),
        };
        let panic = panics.into_iter().find(|(stage, _)| *stage == death.stage).map(|(_, text)| text);
        let why = death.why.or(panic).unwrap_or_else(|| "it ended without a reason".to_owned());
        let name = self.stage_name(death.stage).to_owned();
        let suspects = death.culprits.unwrap_or_else(|| flight.inside(death.stage));
        tracing::error!(stage = %name, topic = %self.seat.topic, partition = self.seat.partition, suspects = suspects.len(), %why, "a stage died");
        if let Some(meters) = self.parts.meters.stages.get(death.stage) {
            meters.deaths.inc();
            meters.died.inc_by(suspects.len() as u64);
        }
        match suspects.as_slice() {
            [one] => {
                let kills = flight.blame(*one);
                if self.parts.supervision.buries(kills) {
                    self.parts.supervision.buried();
                    self.bury_in(*one, death.stage, &why, flight);
                }
            }
            several => several.iter().for_each(|index| flight.suspect(*index)),
        }
        flight.replay(Instant::now());
        match self.parts.supervision.died() {
            Decision::AtOnce => {}
            Decision::After(wait) => {
                self.state(LaneState::BackingOff, &format!("{name}: {why}"));
                self.commit(flight).await?;
                self.pause(wait).await;
                self.state(LaneState::Running, "");
            }
            Decision::GiveUp => {
                self.commit(flight).await?;
                return Err(Ended::GaveUp(format!("stage {name} died too often: {why}")));
            }
        }
        Ok(())
    }

    fn stage_name(&self, stage: usize) -> &str {
        self.parts.plan.stages.get(stage).map_or("", |s| s.name.as_str())
    }

    fn bury_in(&self, index: usize, stage: usize, why: &str, flight: &mut Flight) {
        if let Some(meters) = self.parts.meters.stages.get(stage) {
            meters.dead.inc();
        }
        self.bury(index, self.stage_name(stage), why, flight);
    }

    pub(crate) fn bury(&self, index: usize, stage: &str, why: &str, flight: &mut Flight) {
        let Some((offset, value)) = flight.source(index) else { return };
        let row = crate::dead::row(&self.seat, offset, &value, stage, why);
        tracing::error!(id = %row.id, %stage, %why, "a record goes to dead");
        flight.bury(index, crate::dead::write(&row));
    }
}
