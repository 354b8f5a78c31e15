//! The redirect site: every rewritten link leads here, and here it is decided whether it opens.
//!
//! **GET shows, POST acts.** A GET decides and shows (or redirects); the only trace it leaves is a `Click`
//! signal. Going on, trusting, blocking and reporting are POSTs with a proof that only our own page has.
//! No redirect without its signal on disk: a click whose record cannot be kept gets the warning page.
//! Only `/u/TOKEN` leads anywhere, whatever the host; there is no parameter that takes an address.
//! The site never opens a target, and no page needs JavaScript.
//!
//! **What a link lets its holder do.** A token is not a login: whoever has the mail, or was forwarded it, can
//! press the buttons as the user it was written for. So the buttons can do little. "Go on" opens what the
//! page shows. "Trust" and "block" touch the personal list of that one pseudonym, for the one site of that
//! link, never open what a higher level blocks or a feed calls dangerous, take a browser's same-origin form,
//! are bounded in number, and are signals with the client's address, so that a list edited by a stranger is
//! seen and undone. Anything wider (lists of a domain, learning for all) takes a login or many people.
//! A link is opened *outside its tenant* when the tenant is gone or has moved, or when it is opened at another
//! tenant's host name: then it is always the warning page, and what happens teaches nothing.
//!
//! Reading order: [`decide`] (the table), `click` (GET), `act` (POST), then one file a page.

mod act;
mod assets;
mod blocked;
mod caller;
mod click;
mod counters;
pub mod decide;
mod home;
mod look_alike;
mod message;
mod report;
mod respond;
mod serve;
mod settings;
mod target;
mod warning;

pub use counters::Counters;
pub use settings::Settings;

use bytes::Bytes;
use caller::Caller;
use decide::Findings;
use moka::sync::Cache;
use parking_lot::RwLock;
use respond::Pages;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use target::Target;
use tidegate_actors::learn_whitelist::{Explanation, learned, learned_alone};
use tidegate_actors::ports::{Directory, Intake, Store, StoreError};
use tidegate_actors::rate_reputation::Standing;
use tidegate_schemas::link::{Link, LinkError, LinkKeys, token_of};
use tidegate_schemas::rows::day_of;
use tidegate_schemas::{Policy, Signal, SignalKind, now_ms};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

/// How old an answer about a site may be.
const FRESH: Duration = Duration::from_secs(1);

/// A page of the site cannot be built: a template does not parse.
#[derive(Debug, thiserror::Error)]
#[error("template of the site: {0}")]
pub struct SiteError(#[from] Box<handlebars::TemplateError>);

/// The site.
pub struct Site {
    keys: Arc<RwLock<Arc<LinkKeys>>>,
    directory: Arc<dyn Directory>,
    store: Arc<dyn Store>,
    intake: Arc<dyn Intake>,
    settings: Settings,
    counters: Arc<Counters>,
    pages: Pages,
    feeds: Cache<String, Arc<Feeds>>,
    learned: Cache<(String, String), Option<Explanation>>,
    standings: Cache<String, Standing>,
    posts: Cache<IpAddr, Arc<AtomicU32>>,
}

/// What feeds say of a host.
#[derive(Default)]
struct Feeds {
    dangerous: Option<String>,
    good: Option<String>,
}

/// A link that was read.
struct Opened {
    token: String,
    link: Link,
    target: Target,
}

/// Address of the client's end of a connection; `serve` puts it into the request's extensions.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

impl Site {
    /// The site over its ports. `keys` may be exchanged while it runs. Fails only when a template of ours does
    /// not parse.
    pub fn new(
        keys: Arc<RwLock<Arc<LinkKeys>>>,
        directory: Arc<dyn Directory>,
        store: Arc<dyn Store>,
        intake: Arc<dyn Intake>,
        settings: Settings,
        counters: Arc<Counters>,
    ) -> Result<Site, SiteError> {
        let minute = Duration::from_secs(60);
        Ok(Site {
            keys,
            directory,
            store,
            intake,
            pages: Pages::new(settings.base.starts_with("https://"))?,
            settings,
            counters,
            feeds: Cache::builder().max_capacity(100_000).time_to_live(FRESH).build(),
            learned: Cache::builder().max_capacity(100_000).time_to_live(FRESH).build(),
            standings: Cache::builder().max_capacity(10_000).time_to_live(FRESH).build(),
            posts: Cache::builder().max_capacity(100_000).time_to_live(minute).build(),
        })
    }

    /// All routes. Every request gets an answer; none is rejected.
    pub fn routes(self: Arc<Self>) -> BoxedFilter<(Response,)> {
        let links = warp::path("u").and(warp::path::tail());
        let open = with(&self).and(links).and(reads()).and(head(&self)).then(
            async |site: Arc<Site>, tail: warp::path::Tail, caller: Caller| {
                site.open(tail.as_str(), &caller).await
            },
        );
        let act = with(&self).and(links).and(warp::post()).and(head(&self)).and(body()).then(
            async |site: Arc<Site>, tail: warp::path::Tail, caller: Caller, form: Form| {
                site.act(tail.as_str(), &caller, &form).await
            },
        );
        let start = with(&self)
            .and(warp::path::end())
            .and(reads())
            .map(|site: Arc<Site>| site.home(&serde_json::Value::Null));
        let decode = with(&self).and(warp::path!("decode")).and(warp::post()).and(body());
        let decode = decode.map(|site: Arc<Site>, form: Form| site.decode(&form));
        let ask =
            with(&self).and(warp::path!("report")).and(reads()).map(|site: Arc<Site>| site.report_form(""));
        let report =
            with(&self).and(warp::path!("report")).and(warp::post()).and(head(&self)).and(body()).then(
                async |site: Arc<Site>, caller: Caller, form: Form| site.report_any(&caller, &form).await,
            );
        let pages = start.or(ask).unify().or(decode).unify().or(report).unify();
        let site = self.clone();
        open.or(act)
            .unify()
            .or(pages)
            .unify()
            .or(assets::routes())
            .unify()
            .recover(move |rejection| {
                let site = site.clone();
                async move { Ok::<Response, Infallible>(site.rejected(&rejection)) }
            })
            .unify()
            .boxed()
    }

    /// Reads a token (one path segment). The error is the page to show: it never has a link.
    fn opened(&self, token: &str) -> Result<Opened, Box<Response>> {
        if token_of(token) != Some(token) {
            return Err(self.not_found().into());
        }
        let keys = self.keys.read().clone();
        let link = match keys.decode(token) {
            Ok(link) => link,
            Err(error) => {
                let unknown = matches!(error, LinkError::UnknownKey(_));
                self.counters.refused(if unknown { "unknown key" } else { "damaged" });
                let status = if unknown { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
                return Err(self.damaged(status).into());
            }
        };
        let Some(target) = Target::read(&link.url) else {
            self.counters.refused("no address");
            return Err(self.damaged(StatusCode::BAD_REQUEST).into());
        };
        Ok(Opened { token: token.to_owned(), link, target })
    }

    /// Asks lists, feeds, learning and policy about a link.
    async fn find_out(&self, opened: &Opened, caller: &Caller) -> (Findings, Arc<Policy>) {
        let mut found = Findings::default();
        let (link, target) = (&opened.link, &opened.target);
        let domain = link.tenant.rsplit('/').next().unwrap_or_default();
        let policy = match self.directory.domain(domain).await {
            Ok(Some(facts)) if facts.tenant == link.tenant => {
                found.outside = !self.settings.is_at_home(caller.host_name(), &facts.policy.redirect_base);
                facts.policy.clone()
            }
            Ok(_) => {
                found.outside = true;
                self.settings.policy.clone()
            }
            Err(error) => {
                self.note_away(&mut found, &error);
                self.settings.policy.clone()
            }
        };
        let path =
            if link.user.is_empty() { link.tenant.clone() } else { format!("{}/{}", link.tenant, link.user) };
        match self.directory.listed(&path, "link", &target.list_values()).await {
            Ok(listed) => found.listed = listed,
            Err(error) => self.note_away(&mut found, &error),
        }
        match self.feeds_on(target).await {
            Ok(feeds) => (found.dangerous, found.good) = (feeds.dangerous.clone(), feeds.good.clone()),
            Err(error) => self.note_away(&mut found, &error),
        }
        match self.learned_for(&target.domain, &link.tenant, policy.share_learning).await {
            Ok(explanation) => found.learned = explanation,
            Err(error) => self.note_away(&mut found, &error),
        }
        found.mode = policy.mode;
        found.sampled = decide::is_sampled(&opened.token, &day_of(now_ms()), policy.sample_share);
        (found, policy)
    }

    fn note_away(&self, found: &mut Findings, error: &StoreError) {
        tracing::warn!(%error, "a click could not be checked: the warning page is shown");
        self.counters.refused("not checked");
        found.unchecked = true;
    }

    async fn feeds_on(&self, target: &Target) -> Result<Arc<Feeds>, StoreError> {
        if let Some(feeds) = self.feeds.get(&target.host) {
            return Ok(feeds);
        }
        let mut feeds = Feeds::default();
        for name in target.feed_names() {
            if feeds.dangerous.is_none() && self.store.get("feeds", "dangerous", name).await?.is_some() {
                feeds.dangerous = Some(name.to_owned());
            }
            if feeds.good.is_none() && self.store.get("feeds", "good", name).await?.is_some() {
                feeds.good = Some(name.to_owned());
            }
        }
        let feeds = Arc::new(feeds);
        self.feeds.insert(target.host.clone(), feeds.clone());
        Ok(feeds)
    }

    async fn learned_for(
        &self,
        domain: &str,
        tenant: &str,
        shares: bool,
    ) -> Result<Option<Explanation>, StoreError> {
        let key = (domain.to_owned(), tenant.to_owned());
        if let Some(explanation) = self.learned.get(&key) {
            return Ok(explanation);
        }
        let explanation = if shares {
            learned(&*self.store, domain, tenant, now_ms()).await?
        } else {
            learned_alone(&*self.store, domain, tenant, now_ms()).await?
        };
        self.learned.insert(key, explanation.clone());
        Ok(explanation)
    }

    /// A signal about an opened link, with everything that is the same for all of them.
    fn signal(&self, kind: SignalKind, opened: &Opened, client: &str) -> Signal {
        Signal {
            user: opened.link.user.clone(),
            mail: opened.link.mail.clone(),
            domain: opened.target.domain.clone(),
            host: opened.target.host.clone(),
            client: client.to_owned(),
            ..Signal::new(kind, &opened.link.tenant)
        }
    }

    /// Puts a signal on disk; whether it is there.
    async fn kept(&self, signal: Signal) -> bool {
        match self.intake.signal(vec![signal]).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "a signal of the site was not kept");
                self.counters.refused("not kept");
                false
            }
        }
    }
}

/// A form as it was sent.
#[derive(Clone, Debug)]
struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    fn read(body: &Bytes) -> Form {
        Form { fields: url::form_urlencoded::parse(body).into_owned().take(16).collect() }
    }

    /// A field's text, empty when it is not there.
    fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

fn with(site: &Arc<Site>) -> impl Filter<Extract = (Arc<Site>,), Error = Infallible> + Clone + use<> {
    let site = site.clone();
    warp::any().map(move || site.clone())
}

/// GET and HEAD: what only reads.
fn reads() -> impl Filter<Extract = (), Error = warp::Rejection> + Clone {
    warp::get().or(warp::head()).unify()
}

/// What the head of a request says of its sender.
fn head(site: &Arc<Site>) -> impl Filter<Extract = (Caller,), Error = Infallible> + Clone + use<> {
    let site = site.clone();
    let peer = warp::ext::optional::<Peer>();
    warp::method().and(warp::header::headers_cloned()).and(peer).map(
        move |method: Method, headers: HeaderMap, peer: Option<Peer>| {
            Caller::read(&method, &headers, peer.map(|p| p.0), &site.settings.trusted_proxies)
        },
    )
}

/// A form of bounded size; anything longer, or without a length, is refused before it is read.
fn body() -> impl Filter<Extract = (Form,), Error = warp::Rejection> + Clone {
    warp::header::exact_ignore_case("content-type", "application/x-www-form-urlencoded")
        .and(warp::body::content_length_limit(settings::MOST_BODY))
        .and(warp::body::bytes())
        .map(|body: Bytes| Form::read(&body))
}
