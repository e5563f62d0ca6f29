//! What a request asks for, and the connection that it goes over.

use std::sync::Arc;

use super::reader::Reader;
use super::rules::{Places, Rule, TransportRule};
use super::values::joined;
use crate::memory::Address;
use crate::python::ReadError;
use crate::python::frame::FrameAddress;
use crate::resource::Resource;

/// Transports below each other, as that of a TLS connection is above that of its socket.
const MAX_TRANSPORTS: usize = 4;
/// What stands behind a text that is cut.
const CUT: char = '…';

impl Reader<'_> {
    /// Reads method and URL, and what the transport says of the connection.
    pub(super) fn follow_request(
        &mut self,
        rule: &'static Rule,
        at: FrameAddress,
        resource: &mut Resource,
    ) -> Result<(), ReadError> {
        resource.method = self.first_of(at, rule.method.as_ref(), |this, object| this.plain_text(object))?;
        resource.url = self.first_of(at, rule.url.as_ref(), |this, object| this.url(object))?;
        self.follow_transports(rule, at, resource)
    }

    /// Reads what the transports of a connection say that is not known yet.
    pub(super) fn follow_transports(
        &mut self,
        rule: &'static Rule,
        at: FrameAddress,
        resource: &mut Resource,
    ) -> Result<(), ReadError> {
        let itself = |_: &mut Self, object| Ok(Some(object));
        let mut transport = self.first_of(at, rule.transport.as_ref(), itself)?;
        for _ in 0..MAX_TRANSPORTS {
            let Some(object) = transport else { break };
            transport = self.follow_transport(object, resource)?;
        }
        Ok(())
    }

    /// Reads what a transport says that is not known yet; the transport below it, where there is one.
    fn follow_transport(
        &mut self,
        transport: Address,
        resource: &mut Resource,
    ) -> Result<Option<Address>, ReadError> {
        let Some(rule) = self.transport_rule(transport)? else {
            return Ok(None);
        };
        if resource.fd.is_none() {
            resource.fd = self.first_from(transport, rule.fd.as_ref(), |this, object| this.number(object))?;
        }
        if let (None, Some(handle)) = (resource.fd, &rule.handle) {
            resource.fd = self.descriptor(transport, handle)?;
        }
        let address = |this: &mut Self, object| this.endpoint(object);
        if resource.local.is_none() {
            resource.local = self.first_from(transport, rule.local.as_ref(), address)?;
        }
        if resource.peer.is_none() {
            resource.peer = self.first_from(transport, rule.peer.as_ref(), address)?;
        }
        rule.below
            .as_ref()
            .map_or(Ok(None), |below| self.follow_from(transport, below))
    }

    fn transport_rule(&mut self, transport: Address) -> Result<Option<&'static TransportRule>, ReadError> {
        let kind = self.kind_of(transport)?;
        let mut rules = self.rules().of_transports().iter();
        Ok(rules.find(|rule| kind.is_a(&rule.class)))
    }

    /// What stands at the first of several places that says something, from an object on.
    fn first_from<T>(
        &mut self,
        object: Address,
        places: Option<&'static Places>,
        value: impl Fn(&mut Self, Address) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        self.first_found(places, |this, path| this.follow_from(object, path), value)
    }

    /// A URL without what may be secret of it.
    fn url(&mut self, object: Address) -> Result<Option<Arc<str>>, ReadError> {
        for rule in self.rules().of_urls() {
            if !self.is_a(object, &rule.class)? {
                continue;
            }
            let text = |this: &mut Self, found| this.plain_text(found);
            let scheme = self.first_from(object, Some(&rule.scheme), text)?;
            let netloc = self.first_from(object, Some(&rule.netloc), text)?;
            let path = self.first_from(object, Some(&rule.path), text)?;
            let port = self.first_from(object, rule.port.as_ref(), |this, found| this.number(found))?;
            if let (Some(scheme), Some(netloc)) = (scheme, netloc)
                && let Some(url) = shown(&scheme, &netloc, port, path.as_deref().unwrap_or_default())
            {
                return Ok(Some(url.into()));
            }
        }
        Ok(None)
    }
}

/// A URL of its parts, without user information, query and fragment. `None` where it cannot be told where those end.
fn shown(scheme: &str, netloc: &str, port: Option<i64>, path: &str) -> Option<String> {
    if netloc.is_empty() || netloc.ends_with(CUT) {
        return None;
    }
    let (_, host) = netloc.rsplit_once('@').unwrap_or(("", netloc));
    let host = match port {
        Some(_) => joined(host.trim_start_matches('[').trim_end_matches(']'), port),
        None => host.into(),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    // What is sent to a proxy has a whole URL here, or a host.
    let path = if path.starts_with('/') { path } else { "" };
    Some(format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_url_has_neither_user_information_nor_query() {
        let secret = "hunter2";
        let user = format!("me:{secret}@localhost:8080");
        let query = format!("/items?token={secret}");
        let fragment = format!("/items#{secret}");
        let whole = format!("http://me:{secret}@other/");
        let cut = format!("me:{secret}…");
        let all = [
            shown("http", &user, None, "/items"),
            shown("http", "localhost", Some(8080), &query),
            shown("https", "localhost", None, &fragment),
            shown("http", "localhost", Some(3128), &whole),
            shown("http", &format!("a@b:{secret}@localhost"), Some(80), ""),
            shown("http", "::1", Some(80), "/"),
            shown("http", "[::1]:80", None, "/"),
            shown("http", &cut, None, "/"),
            shown("http", "", None, "/"),
        ];
        let all: Vec<String> = all.iter().map(|url| url.clone().unwrap_or_default()).collect();
        insta::assert_snapshot!(all.join("\n"), @"
        http://localhost:8080/items
        http://localhost:8080/items
        https://localhost/items
        http://localhost:3128
        http://localhost:80
        http://[::1]:80/
        http://[::1]:80/
        ");
        assert!(all.iter().all(|url| !url.contains(secret)));
    }
}
