// Package console is the web page that shows a running relay, and the guard before what the page may do.
//
// The page is plain HTML, CSS and JavaScript, embedded: no build step, nothing from another site. It knows nothing that
// the JSON endpoints below /api/v1/ do not say; those are given to Handler and described in docs/http-api.md.
//
// What the guard promises:
//
//	nothing changes by GET or HEAD; every other method needs the token, in the header Authorization, which no form and
//	no link of another site can set; without a configured token nothing can be changed at all
//	a request that a browser sends for another site is refused (Origin, Sec-Fetch-Site)
//	on a loopback address only requests for a loopback host are answered, so that a name that leads here from outside
//	(DNS rebinding) reads nothing; on any other address parked events and replays are read with the token only
//	answers are not cached, not framed, and run no script but the page's own
package console
