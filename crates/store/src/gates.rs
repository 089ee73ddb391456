//! Gates: opened with a task token, decided or asked at once, expired by silence, void when the run ends.

mod ask;

use aws_sdk_dynamodb::types::AttributeValue;
use run_model::gate::{Approval, Approver, Gate, GateDecision, GateState, Weight, weigh};
use run_model::person::Person;
use run_model::run::{Requester, RunRecord, RunStatus};
use run_model::{GateId, RunId, Sha256};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::events::NewEvent;
use crate::listing::Listing;
use crate::outbox::{Answer, OutboxItem, OutboxKind};
use crate::record::{Record, Stored};
use crate::table::{ATTEMPTS, Condition, Key, Range, Write, sortable, text};
use crate::{Store, StoreError};

/// What a person says at a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Yes or no.
    pub decision: GateDecision,
    /// The hash of what the person was shown.
    pub binding_hash: Sha256,
    /// Who.
    pub person: Person,
    /// Why, if said.
    pub comment: Option<String>,
}

impl Vote {
    fn approver(&self) -> Approver {
        Approver { name: self.person.name.clone(), seen_as: self.person.seen_as.clone() }
    }

    fn approval(&self, approved_ms: i64) -> Approval {
        let (approver, identities) = (self.approver(), self.person.identities.clone());
        Approval { approver, identities, comment: self.comment.clone(), approved_ms }
    }
}

/// A gate with its token beside it.
#[derive(Serialize, Deserialize)]
struct GateItem {
    gate: Gate,
    sealed_token: String,
}

impl Record for GateItem {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let word = self.gate.state.word();
        let mut attributes = vec![("state", text(word))];
        if self.gate.state == GateState::Pending {
            let place = format!("{}#{}", sortable(self.gate.deadline_ms), self.gate.gate_id);
            attributes.extend([("gsi1pk", text(Listing::PENDING_GATES.partition)), ("gsi1sk", text(place))]);
        }
        attributes
    }
}

fn what(gate: &GateId) -> String {
    format!("gate {gate}")
}

fn no_longer_waits(gate: &Gate) -> StoreError {
    let by = gate.decided_by().map(|names| format!(" by {names}")).unwrap_or_default();
    let stands = match &gate.state {
        GateState::Asked { asker, .. } => format!("asked by {}; a fresh gate opens with the answer", asker.name),
        state => format!("{}{by}", state.word()),
    };
    StoreError::AlreadyDecided { gate: gate.gate_id.clone(), stands }
}

impl Store {
    /// Opens a gate, once per gate id, and keeps the token of the state that waits for it, sealed.
    ///
    /// With a new gate its run's record is written, which waits at it from now on, and an event (`gate.opened`), all together:
    /// nobody can decide on a gate that its run does not know yet.
    ///
    /// A gate of this id that still waits takes the new token and stays as it is. One that no longer waits takes it too and
    /// its answer is sent again, to the new token. What is returned is the gate as it stands.
    ///
    /// # Errors
    /// [`StoreError::BindingChanged`] if a gate of this id stands before something else; [`StoreError::NotFound`] without the
    /// run or a signing secret; [`StoreError::Conflict`] if others were first again and again; [`StoreError::Unavailable`].
    pub async fn open_gate(&self, gate: Gate, token: &str) -> Result<Gate, StoreError> {
        let key = Key::gate(&gate.gate_id);
        let sealed_token = self.close_token(&what(&gate.gate_id), token).await?;
        for _ in 0..ATTEMPTS {
            let Some(found) = self.load::<GateItem>(&key).await? else {
                if let Some(opened) = self.open_new_gate(&key, &gate, &sealed_token).await? {
                    return Ok(opened);
                }
                continue;
            };
            if found.value.gate.binding != gate.binding {
                return Err(StoreError::BindingChanged(gate.gate_id));
            }
            let answer_again = found.value.gate.state != GateState::Pending;
            let change = |item: &mut GateItem| item.sealed_token.clone_from(&sealed_token);
            if let Some(taken) = self.write_gate(found, answer_again, change).await? {
                return Ok(taken);
            }
        }
        Err(StoreError::Conflict(what(&gate.gate_id)))
    }

    async fn open_new_gate(&self, key: &Key, gate: &Gate, sealed_token: &str) -> Result<Option<Gate>, StoreError> {
        let mut item = GateItem { gate: gate.clone(), sealed_token: sealed_token.to_owned() };
        let row = self.encode(&gate.run_id, key, &mut item, 1).await?;
        let pointer = Key::gate_of_run(&gate.run_id, gate.gate_id.as_str()).attributes();
        let run_key = Key::run(&gate.run_id);
        let Stored { value: mut run, version } =
            self.require::<RunRecord>(&run_key, format!("run {}", gate.run_id)).await?;
        run.status = RunStatus::ApprovalPending;
        run.gate = Some(gate.gate_id.clone());
        let run = self.encode(&gate.run_id, &run_key, &mut run, version + 1).await?;
        let level = gate.risk.level.as_str();
        let event = NewEvent::new("gate.opened", format!("{level} risk: waiting for a decision on {}", gate.gate_id));
        let event = self.next_event_item(&gate.run_id, event).await?;
        let writes = || {
            let new = [&row, &pointer, &event].map(|row| Write::Put(row.clone(), Condition::absent()));
            new.into_iter().chain([Write::Put(run.clone(), Condition::version(version))]).collect()
        };
        Ok(self.transact(key, writes).await?.is_written().then_some(item.gate))
    }

    /// Writes a changed gate if it still is as it was read, with an outbox item if its state is to be answered. `None` if
    /// another writer was first.
    async fn write_gate(
        &self,
        found: Stored<GateItem>,
        answer: bool,
        change: impl FnOnce(&mut GateItem),
    ) -> Result<Option<Gate>, StoreError> {
        let Stored { value: mut item, version } = found;
        change(&mut item);
        let key = Key::gate(&item.gate.gate_id);
        let row = self.encode(&item.gate.run_id.clone(), &key, &mut item, version + 1).await?;
        let outbox =
            answer.then(|| OutboxItem::row(OutboxKind::Gate, item.gate.gate_id.as_str(), version + 1, self.now_ms()));
        Ok(self.put_and_answer(&key, row, version, outbox).await?.then_some(item.gate))
    }

    async fn gate_item(&self, gate: &GateId) -> Result<Stored<GateItem>, StoreError> {
        self.require(&Key::gate(gate), what(gate)).await
    }

    /// A gate as it stands.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NewerSchema`]; [`StoreError::Corrupt`]; [`StoreError::Unavailable`].
    pub async fn gate(&self, gate: &GateId) -> Result<Gate, StoreError> {
        Ok(self.gate_item(gate).await?.value.gate)
    }

    /// The gates that wait, the nearest deadline first. One opened a moment ago may still be missing on AWS.
    ///
    /// # Errors
    /// As [`Store::gate`].
    pub async fn pending_gates(&self) -> Result<Vec<Gate>, StoreError> {
        let items = self.query(Range::of_index(&Listing::PENDING_GATES), usize::MAX).await?;
        Ok(self.decode_listed::<GateItem>(&items).await?.into_iter().map(|found| found.value.gate).collect())
    }

    /// Every gate of a run, in the order they were opened.
    ///
    /// # Errors
    /// As [`Store::gate`].
    pub async fn run_gates(&self, run: &RunId) -> Result<Vec<Gate>, StoreError> {
        let mut gates = Vec::new();
        for pointer in self.query(Range::beginning(Key::gate_of_run(run, "")), usize::MAX).await? {
            let key = Key::read(&pointer);
            let id = key.sk.strip_prefix("GATE#").and_then(|id| GateId::new(id).ok());
            gates.push(self.gate(&id.ok_or_else(|| StoreError::corrupt(&key, "it names no gate"))?).await?);
        }
        gates.sort_by(|a, b| (a.opened_ms, &a.gate_id).cmp(&(b.opened_ms, &b.gate_id)));
        Ok(gates)
    }

    /// Decides a gate, once. `binding_hash` is the hash of what the person was shown. The decision and its outbox item are
    /// written together.
    ///
    /// # Errors
    /// [`StoreError::AlreadyDecided`] if it no longer waits; [`StoreError::DeadlinePassed`] after the deadline, to the
    /// millisecond; [`StoreError::BindingChanged`] if the hash is another; [`StoreError::NotFound`];
    /// [`StoreError::Unavailable`].
    pub async fn decide(
        &self,
        gate: &GateId,
        binding_hash: &Sha256,
        decision: GateDecision,
        approver: Approver,
        comment: Option<String>,
    ) -> Result<Gate, StoreError> {
        for _ in 0..ATTEMPTS {
            let found = self.gate_item(gate).await?;
            let decided_ms = self.now_ms();
            may_decide(&found.value.gate, binding_hash, decided_ms)?;
            let (approver, comment) = (approver.clone(), comment.clone());
            let state = GateState::Decided { decision, approver, comment, decided_ms };
            // The version is the condition: what was checked just now still holds when the decision is written.
            if let Some(decided) = self.write_gate(found, true, |item| item.gate.state = state).await? {
                return Ok(decided);
            }
        }
        Err(StoreError::Conflict(what(gate)))
    }

    /// Counts a person's word at a gate by the rules of [`run_model::gate`] and returns the gate as it stands: decided, or
    /// waiting for another person. `requester` is whom the gate's run has. A decision is written with its outbox item, an
    /// approval that does not decide yet with an event (`gate.approved`); a person who approves again is counted once.
    ///
    /// # Errors
    /// [`StoreError::MayNotDecide`] if the person's word does not count; otherwise as [`Store::decide`].
    pub async fn vote(&self, gate: &GateId, requester: &Requester, vote: &Vote) -> Result<Gate, StoreError> {
        for _ in 0..ATTEMPTS {
            let found = self.gate_item(gate).await?;
            let now_ms = self.now_ms();
            may_decide(&found.value.gate, &vote.binding_hash, now_ms)?;
            let written = match weigh(&found.value.gate, requester, &vote.person, vote.decision)? {
                Weight::Repeated => return Ok(found.value.gate),
                Weight::AwaitsAnother => self.keep_approval(found, vote.approval(now_ms)).await?,
                Weight::Decides => {
                    let (decision, comment) = (vote.decision, vote.comment.clone());
                    let state = GateState::Decided { decision, approver: vote.approver(), comment, decided_ms: now_ms };
                    let decide = |item: &mut GateItem| {
                        if decision == GateDecision::Approved {
                            item.gate.approvals.push(vote.approval(now_ms));
                        }
                        item.gate.state = state;
                    };
                    self.write_gate(found, true, decide).await?
                }
            };
            if let Some(gate) = written {
                return Ok(gate);
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(what(gate)))
    }

    /// Keeps an approval that another one has to join, and tells the run. `None` if another writer was first.
    async fn keep_approval(&self, found: Stored<GateItem>, approval: Approval) -> Result<Option<Gate>, StoreError> {
        let Stored { value: mut item, version } = found;
        let (key, run) = (Key::gate(&item.gate.gate_id), item.gate.run_id.clone());
        let said = format!("{} approved {}; one more person has to", approval.approver.name, item.gate.gate_id);
        item.gate.approvals.push(approval);
        let row = self.encode(&run, &key, &mut item, version + 1).await?;
        let event = self.next_event_item(&run, NewEvent::new("gate.approved", said)).await?;
        let writes = || {
            vec![Write::Put(row.clone(), Condition::version(version)), Write::Put(event.clone(), Condition::absent())]
        };
        Ok(self.transact(&key, writes).await?.is_written().then_some(item.gate))
    }

    /// Expires a gate whose deadline has passed and returns the gate as it stands, whether or not it was this call that
    /// changed it. Before the deadline nothing happens.
    ///
    /// # Errors
    /// As [`Store::gate`]; [`StoreError::Conflict`] if others were first again and again.
    pub async fn expire_gate(&self, gate: &GateId) -> Result<Gate, StoreError> {
        let now_ms = self.now_ms();
        self.close_gate(gate, GateState::Expired, |gate| now_ms > gate.deadline_ms).await
    }

    /// Makes every gate of the run that still waits void: the run has ended, there is nothing left to decide.
    ///
    /// # Errors
    /// As [`Store::expire_gate`].
    pub async fn void_gates(&self, run: &RunId) -> Result<(), StoreError> {
        for gate in self.run_gates(run).await? {
            self.close_gate(&gate.gate_id, GateState::Void, |_| true).await?;
        }
        Ok(())
    }

    async fn close_gate(
        &self,
        gate: &GateId,
        state: GateState,
        may_close: impl Fn(&Gate) -> bool + Send,
    ) -> Result<Gate, StoreError> {
        for _ in 0..ATTEMPTS {
            let found = self.gate_item(gate).await?;
            if found.value.gate.state != GateState::Pending || !may_close(&found.value.gate) {
                return Ok(found.value.gate);
            }
            // Nobody is told: the state that waited has timed out or its execution has ended.
            let closed = self.write_gate(found, false, |item| item.gate.state = state.clone()).await?;
            if let Some(closed) = closed {
                return Ok(closed);
            }
        }
        Err(StoreError::Conflict(what(gate)))
    }

    pub(crate) async fn gate_answer(&self, gate: &GateId) -> Result<Answer, StoreError> {
        let GateItem { gate, sealed_token } = self.gate_item(gate).await?.value;
        if gate.state == GateState::Pending {
            return Err(StoreError::Conflict(format!("{}, which nobody has decided yet", what(&gate.gate_id))));
        }
        let token = self.seal().await?.open(&what(&gate.gate_id), &sealed_token)?;
        Ok(Answer { token, result: Ok(json!({ "gate_id": gate.gate_id, "decision": gate.state.word() })) })
    }
}

fn may_decide(gate: &Gate, binding_hash: &Sha256, now_ms: i64) -> Result<(), StoreError> {
    if gate.state == GateState::Expired || (gate.state == GateState::Pending && now_ms > gate.deadline_ms) {
        return Err(StoreError::DeadlinePassed(gate.gate_id.clone()));
    }
    if gate.state != GateState::Pending {
        return Err(no_longer_waits(gate));
    }
    if gate.binding.hash() != *binding_hash {
        return Err(StoreError::BindingChanged(gate.gate_id.clone()));
    }
    Ok(())
}
