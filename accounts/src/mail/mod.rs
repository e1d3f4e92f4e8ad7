//! Mails to people. Each is a job that was wanted in the transaction of what it tells; the job knows ids alone, and the
//! token of a link is made when the mail is.

mod letters;
mod secrets;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use domain::job::{Job, NewJob};
use domain::settings::Settings;
use domain::user::{InvitationStatus, LinkPurpose};
use domain::{DomainError, InvitationId, JobId, LinkId, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use lettre::message::{Mailbox, MultiPart};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};
use storage::{Tx, invitations, links, users, workspaces};

use crate::{Accounts, Error, Result};

pub use letters::role_name;
pub(crate) use secrets::{LinkToken, LinkTokens};

/// The kind of the job.
const KIND: &str = "accounts.mail";
/// Mails that are sent at a time.
const AT_ONCE: usize = 4;

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Errand {
    /// Somebody is asked to join a workspace; with how often they were.
    Invitation {
        /// Which invitation.
        id: InvitationId,
        /// The number of the mail.
        sent: i64,
    },
    /// A link to verify an address or to choose another password.
    Link {
        /// Which link.
        id: LinkId,
    },
}

/// A mail, written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    /// What is in it to be opened.
    pub(crate) link: String,
}

/// Sends mails, where a server for them is set, and knows where links lead.
#[derive(Debug)]
pub(crate) struct Mailer {
    server: Option<(AsyncSmtpTransport<Tokio1Executor>, Mailbox)>,
    base: String,
}

impl Mailer {
    /// An error names the setting that is wrong.
    pub(crate) fn new(settings: &Settings) -> Result<Self, DomainError> {
        let base = settings.server.public_base();
        let Some(url) = &settings.mail.smtp_url else { return Ok(Self { server: None, base }) };
        let from: Option<Mailbox> =
            settings.mail.from.as_deref().and_then(|from| from.parse().ok());
        let from = from.ok_or_else(|| {
            let message = "`mail.from` is no address; write it like Vocero <vocero@example.com>";
            DomainError::invalid("mail.from", message)
        })?;
        // The cause may hold the password.
        let transport =
            AsyncSmtpTransport::<Tokio1Executor>::from_url(url.as_str()).map_err(|_| {
                let message =
                    "`mail.smtp_url` is not understood; write it like smtps://user:password@host";
                DomainError::invalid("mail.smtp_url", message)
            })?;
        let transport = transport.timeout(Some(settings.mail.timeout)).build();
        Ok(Self { server: Some((transport, from)), base })
    }

    /// Whether mails are sent, rather than their links shown.
    pub(crate) fn sends(&self) -> bool {
        self.server.is_some()
    }

    /// The address of a page of the panel: `reset`, and a token.
    pub(crate) fn address(&self, page: &str, token: &LinkToken) -> String {
        format!("{}/{page}/{}", self.base, token.expose())
    }

    async fn send(&self, letter: &Letter, job: &Job) -> Outcome {
        let Some((transport, from)) = &self.server else {
            tracing::warn!(
                to = letter.to,
                link = letter.link,
                subject = letter.subject,
                "no mail server is set (SMTP_URL): give this link to the person yourself"
            );
            return Ok(());
        };
        let message = message(letter, from, job.id, job.created_at.micros())
            .map_err(|error| JobError::Permanent(format!("the mail cannot be written: {error}")))?;
        match transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => {
                Err(JobError::Permanent(format!("the mail server refuses it: {error}")))
            }
            Err(error) => Err(JobError::retry(format!("the mail server failed: {error}"))),
        }
    }
}

/// A job that runs twice sends a mail with the same id, so that mailboxes may know it.
fn message(
    letter: &Letter,
    from: &Mailbox,
    job: JobId,
    micros: i64,
) -> std::result::Result<Message, Box<dyn std::error::Error + Send + Sync>> {
    let date = UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    let id = format!("<{job}@{}>", from.email.domain());
    let body = MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone());
    let to = Mailbox::new(None, letter.to.parse()?);
    Ok(Message::builder()
        .from(from.clone())
        .to(to)
        .subject(&letter.subject)
        .message_id(Some(id))
        .date(date)
        .multipart(body)?)
}

impl Accounts {
    /// Whether mails are sent; where not, links are shown to who may give them on.
    pub fn sends_mail(&self) -> bool {
        self.0.mailer.sends()
    }

    /// The job handlers, to be registered with the runner.
    pub fn handlers(&self) -> Vec<Arc<dyn Handler>> {
        vec![Arc::new(Post(self.clone()))]
    }

    /// Wants a mail, in the transaction of what it tells.
    pub(crate) async fn post(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        errand: Errand,
    ) -> Result<()> {
        let payload = serde_json::to_value(errand)
            .map_err(|error| Error::internal(format!("the payload of a mail: {error}")))?;
        let job = NewJob::now(KIND, payload, self.0.ambient.now());
        storage::jobs::enqueue(tx, &self.0.ambient, workspace, &job).await?;
        Ok(())
    }

    /// The mail; `None` when nothing would come of it any more.
    async fn write(&self, job: &Job) -> Result<Option<Letter>> {
        let Ok(errand) = serde_json::from_value(job.payload.clone()) else {
            return Err(Error::internal("the payload of a mail is not readable"));
        };
        match errand {
            Errand::Invitation { id, sent } => self.write_invitation(id, sent).await,
            Errand::Link { id } => self.write_link(id).await,
        }
    }

    async fn write_invitation(&self, id: InvitationId, sent: i64) -> Result<Option<Letter>> {
        let now = self.0.ambient.now();
        let mut conn = self.0.db.read().await?;
        for token in self.0.tokens.of_invitation(id, sent) {
            let Some(found) = invitations::by_hash(&mut conn, &token.hash()).await? else {
                continue;
            };
            if found.id != id || found.status(now) != InvitationStatus::Pending {
                return Ok(None);
            }
            let Some(workspace) = workspaces::get(&mut conn, found.workspace_id).await? else {
                return Ok(None);
            };
            let by = match found.invited_by {
                Some(user) => users::get(&mut conn, user).await?,
                None => None,
            };
            let by = by.map_or_else(|| workspace.name.clone(), |user| user.name);
            let link = self.0.mailer.address("invitations", &token);
            return Ok(Some(letters::invitation(&found, &by, &workspace.name, link)));
        }
        Ok(None)
    }

    async fn write_link(&self, id: LinkId) -> Result<Option<Letter>> {
        let now = self.0.ambient.now();
        let mut conn = self.0.db.read().await?;
        let Some(found) = links::get(&mut conn, id).await? else { return Ok(None) };
        if found.used_at.is_some() || now >= found.expires_at {
            return Ok(None);
        }
        let Some(user) = users::get(&mut conn, found.user_id).await? else { return Ok(None) };
        for token in self.0.tokens.of_link(id) {
            if links::by_hash(&mut conn, found.purpose, &token.hash()).await?.is_none() {
                continue;
            }
            let page = match found.purpose {
                LinkPurpose::Verify => "verify",
                LinkPurpose::Reset => "reset",
            };
            let link = self.0.mailer.address(page, &token);
            return Ok(Some(letters::link(&found, &user.name, link)));
        }
        Ok(None)
    }
}

/// `accounts.mail`.
struct Post(Accounts);

#[async_trait]
impl Handler for Post {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn concurrency(&self) -> usize {
        AT_ONCE
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let sent = context.cancel_of(job.id).run_until_cancelled_owned(self.one(job)).await;
            let interrupted = || Err(context.interruption(job.id).unwrap_or(JobError::Released));
            outcomes.push(sent.unwrap_or_else(interrupted));
        }
        outcomes
    }
}

impl Post {
    async fn one(&self, job: &Job) -> Outcome {
        let letter = self.0.write(job).await;
        match letter.map_err(|error| JobError::retry(error.to_string()))? {
            Some(letter) => self.0.0.mailer.send(&letter, job).await,
            None => Ok(()),
        }
    }
}
