//! Domains where anybody can publish or redirect: that people went there says nothing of the next page there.
//!
//! Names of their own that the public suffix list has in its private section are caught by that list; here
//! stand those that it does not have. An entry covers itself and everything below it.

use std::collections::HashSet;
use std::sync::LazyLock;

static ALL: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let groups = [PAGES, FILES, FORMS, SHORTENERS, REDIRECTORS, DYNAMIC];
    groups.into_iter().flat_map(str::split_ascii_whitespace).collect()
});

/// Whether a domain is one of these or below one.
pub(super) fn has(domain: &str) -> bool {
    let mut rest = domain;
    loop {
        if ALL.contains(rest) {
            return true;
        }
        match rest.split_once('.') {
            Some((_, parent)) => rest = parent,
            None => return false,
        }
    }
}

/// Pages and sites by anybody.
const PAGES: &str = "
    000webhostapp.com about.me azureedge.net azurewebsites.net beehiiv.com behance.net blogspot.com
    campsite.bio canva.com canva.site carrd.co cloudfront.net creatorlink.net facebook.com
    firebaseapp.com framer.ai framer.app framer.website gamma.app gitbook.io github.com github.io
    githubusercontent.com gitlab.com gitlab.io glitch.me godaddysites.com google.com googleapis.com
    googleusercontent.com hashnode.dev herokuapp.com hostingerapp.com instagram.com issuu.com
    linkedin.com linktr.ee livejournal.com medium.com milanote.com miro.com myportfolio.com
    myshopify.com mystrikingly.com neocities.org netlify.app notion.site notion.so onrender.com
    padlet.com pages.dev pinterest.com pythonanywhere.com r2.dev railway.app reddit.com repl.co
    replit.app site123.me square.site squarespace.com steamcommunity.com substack.com surge.sh
    telegra.ph tiktok.com tilda.ws translate.goog tumblr.com twitter.com vercel.app vk.com web.app
    webflow.io weebly.com weeblysite.com windows.net wixsite.com wixstudio.io wordpress.com workers.dev
    x.com yolasite.com youtube.com zyrosite.com
";

/// Files and documents by anybody.
const FILES: &str = "
    1drv.ms 4shared.com adobe.com aliyuncs.com amazonaws.com backblazeb2.com box.com discord.com
    discordapp.com docsend.com docusign.com docusign.net dropbox.com dropboxusercontent.com dweb.link
    evernote.com figma.com filemail.com gofile.io icloud.com imgur.com ipfs.io live.com mediafire.com
    mega.nz myqcloud.com office.com onedrive.com pastebin.com pcloud.com pdf.ac prezi.com scribd.com
    sendspace.com sharepoint.com slideshare.net smash.gg storage.googleapis.com transfer.sh we.tl
    wetransfer.com zoho.com zohopublic.com
";

/// Forms by anybody.
const FORMS: &str = "
    123formbuilder.com airtable.com cognitoforms.com forms.gle formstack.com hsforms.com jotform.com
    microsoft.com paperform.co smartsheet.com surveymonkey.com tally.so typeform.com wufoo.com zfrmz.com
";

/// Shorteners: the next link leads elsewhere.
const SHORTENERS: &str = "
    adf.ly aka.ms bit.do bit.ly bitly.com bl.ink buff.ly clck.ru cutt.ly da.gd dub.co dub.sh fb.me g.co
    gg.gg goo.gl goo.su is.gd j.mp kutt.it lnk.bio lnk.to lnkd.in n9.cl ow.ly page.link qr.ae qr1.be
    qrco.de rb.gy rebrand.ly rotf.lol s.id short.gy shorte.st shorturl.at snip.ly soo.gd surl.li t.co
    t.ly t.me tiny.cc tiny.one tinyurl.com tr.im u.to urlz.fr v.gd vu.fr wa.me x.gd xurl.es youtu.be
    zpr.io
";

/// Wrappers of other gateways, trackers of mass mailers, open redirects of great sites.
const REDIRECTORS: &str = "
    ampproject.org awstrack.me baidu.com bing.com cisco.com constantcontact.com createsend.com
    cudasvc.com doubleclick.net exacttarget.com exct.net googleadservices.com hubspotlinks.com
    klclick.com list-manage.com mailchi.mp mailjet.com mandrillapp.com mcusercontent.com mimecast.com
    mimecastprotect.com mjt.lu outlook.com proofpoint.com rs6.net salesforce.com sendgrid.net
    sendibm1.com sendinblue.com sophos.com sparkpostmail.com trendmicro.com urldefense.com yahoo.com
    yandex.com yandex.ru
";

/// Dynamic DNS and tunnels: the same name is another machine tomorrow.
const DYNAMIC: &str = "
    bounceme.net changeip.com ddns.me ddns.net dnsalias.com duckdns.org dyn.com dyndns.org dynu.com
    dynu.net dynv6.net freeddns.org freedns.afraid.org gotdns.ch hopto.org lhr.life loca.lt loclx.io
    mooo.com myddns.me myftp.org ngrok-free.app ngrok.app ngrok.dev ngrok.io nip.io no-ip.org
    now-dns.net pagekite.me redirectme.net serveblog.net serveftp.com servehttp.com serveo.net sslip.io
    sytes.net traefik.me trycloudflare.com us.to webhop.me xip.io zapto.org
";
