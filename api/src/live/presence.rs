//! Which members of a workspace are there, on whichever process they are connected.
//!
//! Nothing of it is stored. Each process tells the others whom it has, when that changes and from time to time; what a
//! process said holds for a while, so that one that died is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use domain::{Timestamp, UserId, WorkspaceId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Live;
use crate::error::source_chain;

/// How often a process repeats whom it has.
const BEAT: Duration = Duration::from_secs(30);
/// How long what a process said holds.
const HOLDS: Duration = Duration::from_secs(75);
/// The kinds of the signals between processes, which listeners never see.
const HERE: &str = "processes.here";
const ASK: &str = "processes.ask";

/// Who is there, as this process knows it.
pub(super) struct Presences {
    process: String,
    /// How many connections each member has to this process.
    here: HashMap<WorkspaceId, BTreeMap<UserId, usize>>,
    /// Whom other processes have, and until when that holds.
    elsewhere: HashMap<WorkspaceId, HashMap<String, (BTreeSet<UserId>, Timestamp)>>,
}

/// A member's being there; ends when it is dropped.
pub(crate) struct Attendance {
    live: Live,
    workspace: WorkspaceId,
    user: UserId,
}

impl Presences {
    pub fn new(process: String) -> Self {
        Self { process, here: HashMap::new(), elsewhere: HashMap::new() }
    }

    fn here(&self, workspace: WorkspaceId) -> BTreeSet<UserId> {
        self.here.get(&workspace).into_iter().flat_map(|users| users.keys().copied()).collect()
    }

    fn all(&self, workspace: WorkspaceId) -> BTreeSet<UserId> {
        let mut all = self.here(workspace);
        for (users, _) in self.elsewhere.get(&workspace).into_iter().flat_map(HashMap::values) {
            all.extend(users);
        }
        all
    }

    fn enter(&mut self, workspace: WorkspaceId, user: UserId) {
        *self.here.entry(workspace).or_default().entry(user).or_default() += 1;
    }

    fn leave(&mut self, workspace: WorkspaceId, user: UserId) {
        let Some(users) = self.here.get_mut(&workspace) else { return };
        if let Some(count) = users.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&user);
            }
        }
        if users.is_empty() {
            self.here.remove(&workspace);
        }
    }

    fn hear(
        &mut self,
        workspace: WorkspaceId,
        process: &str,
        users: BTreeSet<UserId>,
        now: Timestamp,
    ) {
        let known = self.elsewhere.entry(workspace).or_default();
        if users.is_empty() {
            known.remove(process);
        } else {
            known.insert(process.to_owned(), (users, now.plus(HOLDS)));
        }
        if known.is_empty() {
            self.elsewhere.remove(&workspace);
        }
    }

    fn forget_silent(&mut self, workspace: WorkspaceId, now: Timestamp) {
        let Some(known) = self.elsewhere.get_mut(&workspace) else { return };
        known.retain(|_, (_, until)| *until > now);
        if known.is_empty() {
            self.elsewhere.remove(&workspace);
        }
    }

    fn announcement(&self, workspace: WorkspaceId) -> Value {
        json!({"kind": HERE, "process": self.process, "users": self.here(workspace)})
    }
}

impl Live {
    /// Notes that a member is connected, until what is answered is dropped.
    pub fn attend(&self, workspace: WorkspaceId, user: UserId) -> Attendance {
        self.change(workspace, |presences| presences.enter(workspace, user));
        let ask = json!({"kind": ASK, "process": self.0.presences.lock().process});
        self.pass_on(workspace, ask);
        Attendance { live: self.clone(), workspace, user }
    }

    /// The members who are there.
    pub fn present(&self, workspace: WorkspaceId) -> Vec<UserId> {
        self.0.presences.lock().all(workspace).into_iter().collect()
    }

    /// Makes a change of those who are here, and tells it here and elsewhere.
    fn change(&self, workspace: WorkspaceId, change: impl FnOnce(&mut Presences)) {
        let announcement = {
            let mut presences = self.0.presences.lock();
            let before = presences.here(workspace);
            self.compare(workspace, &mut presences, change);
            (before != presences.here(workspace)).then(|| presences.announcement(workspace))
        };
        if let Some(announcement) = announcement {
            self.pass_on(workspace, announcement);
        }
    }

    /// Makes a change and tells the listeners of this process who came and who went.
    fn compare(
        &self,
        workspace: WorkspaceId,
        presences: &mut Presences,
        change: impl FnOnce(&mut Presences),
    ) {
        let before = presences.all(workspace);
        change(presences);
        let after = presences.all(workspace);
        let came = after.difference(&before).map(|user| (user, "online"));
        let went = before.difference(&after).map(|user| (user, "offline"));
        for (user, state) in came.chain(went) {
            let told = json!({"kind": "presence", "userId": user, "state": state});
            self.tell_here(workspace, told);
        }
    }

    /// Tells other processes, where there may be some.
    fn pass_on(&self, workspace: WorkspaceId, signal: Value) {
        if !self.0.db.is_postgres() {
            return;
        }
        let live = self.clone();
        self.0.tracker.spawn(async move {
            if let Err(error) = live.signal(workspace, &signal).await {
                tracing::debug!(error = source_chain(&error), "presence was not told");
            }
        });
    }

    /// Whether a signal is one between processes; acts on it.
    pub(super) fn hear_presence(&self, workspace: WorkspaceId, signal: &Value) -> bool {
        let kind = signal["kind"].as_str().unwrap_or_default();
        if kind != HERE && kind != ASK {
            return false;
        }
        let process = signal["process"].as_str().unwrap_or_default();
        let mut presences = self.0.presences.lock();
        if process == presences.process {
            return true;
        }
        if kind == ASK {
            let announcement = presences.announcement(workspace);
            let is_somebody_here = presences.here.contains_key(&workspace);
            drop(presences);
            if is_somebody_here {
                self.pass_on(workspace, announcement);
            }
            return true;
        }
        let users = signal["users"].as_array().into_iter().flatten();
        let users = users.filter_map(|user| user.as_str()?.parse().ok()).collect();
        let now = self.0.ambient.now();
        self.compare(workspace, &mut presences, |presences| {
            presences.hear(workspace, process, users, now);
        });
        true
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let (workspace, user) = (self.workspace, self.user);
        self.live.change(workspace, |presences| presences.leave(workspace, user));
    }
}

/// Repeats whom this process has, and forgets what silent ones said, until `stopping`.
pub(super) async fn beat(live: Live, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(BEAT);
    while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = live.0.ambient.now();
        let announcements: Vec<_> = {
            let mut presences = live.0.presences.lock();
            let workspaces: Vec<_> = presences.elsewhere.keys().copied().collect();
            for workspace in workspaces {
                live.compare(workspace, &mut presences, |presences| {
                    presences.forget_silent(workspace, now);
                });
            }
            let here = presences.here.keys();
            here.map(|&workspace| (workspace, presences.announcement(workspace))).collect()
        };
        for (workspace, announcement) in announcements {
            live.pass_on(workspace, announcement);
        }
    }
}
