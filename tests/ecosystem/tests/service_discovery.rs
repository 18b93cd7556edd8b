//! Discovery on a simulated network: registries, services and resolvers on hosts that are killed, cut off and started
//! again.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use sinew::discovery::{
    Announcement, ChangeKind, Changes, Registry, Resolver, ResolverBuilder, Service,
};
use sinew::testing::{Link, Network, block_on, here, seeds, sleep, spawn};
use sinew::{Pub, Rep};

/// How often registries ask.
const INTERVAL: Duration = Duration::from_millis(400);
/// A dialer that was turned away or cut off has come back.
const RECONNECTED: Duration = Duration::from_millis(1000);
/// A registry has asked everybody since, and been asked.
const SOON: Duration = Duration::from_millis(1000 + 2 * 400 + 100);

fn forever() {
    loop {
        sleep(Duration::from_secs(600));
    }
}

/// Starts a registry on a host of its own, which has its name.
fn start_registry(network: &Network, name: &'static str) {
    network.host(name).spawn(move || {
        let _registry = registry(name);
        forever();
    });
}

/// A registry on the host of the calling thread.
fn registry(name: &str) -> Registry {
    let builder = Registry::builder().surveys(surveys(name)).requests(requests(name));
    builder.interval(INTERVAL).start().expect("the names are free")
}

fn surveys(registry: &str) -> String {
    format!("sim://{registry}-surveys")
}

fn requests(registry: &str) -> String {
    format!("sim://{registry}-requests")
}

/// Starts a service on a host of its own, which answers with the name of the host.
fn start_service(network: &Network, host: &'static str, name: &'static str, registries: &[&str]) {
    let urls: Vec<String> = registries.iter().map(|registry| surveys(registry)).collect();
    network.host(host).spawn(move || {
        let rep = Rep::new();
        let address = format!("sim://{host}");
        rep.bind(&address).expect("the name is free");
        let _announcement = Announcement::new(Service::new(name, address), urls).unwrap();
        for request in &rep {
            request.reply(host).unwrap();
        }
    });
}

fn resolver(registries: &[&str]) -> ResolverBuilder {
    let all = registries.iter().map(|registry| requests(registry));
    all.fold(Resolver::builder(), ResolverBuilder::registry).interval(INTERVAL)
}

/// Where the services of a name are.
fn addresses(resolver: &Resolver, name: &str) -> Vec<String> {
    let found = resolver.resolve(name).expect("a registry answers");
    found.iter().map(|service| service.addresses()[0].clone()).collect()
}

#[test]
fn the_list_has_who_lives_whatever_breaks() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        start_registry(&network, "registry");
        for name in ["answer", "echo"] {
            start_service(&network, name, name, &["registry"]);
        }
        let net = network.clone();
        network.run(move || {
            let resolver = resolver(&["registry"]).start().unwrap();
            let live = || {
                let mut lists = resolver.lists().expect("the registry answers");
                let names = lists.pop().expect("its list").services.into_iter();
                names.map(|service| service.name().to_owned()).collect::<Vec<_>>()
            };
            let (answer, echo) = (resolver.req("answer").unwrap(), resolver.req("echo").unwrap());
            sleep(SOON);
            assert_eq!(live(), ["answer", "echo"]);
            assert_eq!(answer.request_timeout("well?", SOON).unwrap(), "answer");
            assert_eq!(echo.request_timeout("well?", SOON).unwrap(), "echo");

            net.host("echo").kill();
            sleep(SOON);
            assert_eq!(live(), ["answer"]);
            assert_eq!(echo.services(), []);
            assert!(echo.request_timeout("well?", SOON).is_err());
            start_service(&net, "echo", "echo", &["registry"]);
            sleep(SOON);
            assert_eq!(echo.request_timeout("well?", SOON).unwrap(), "echo");

            // Nobody is told of a partition, but silence is seen.
            net.partition(&["answer"]);
            sleep(SOON);
            assert_eq!(live(), ["echo"]);
            net.heal();
            sleep(SOON);
            assert_eq!(live(), ["answer", "echo"]);
            assert_eq!(answer.request_timeout("well?", SOON).unwrap(), "answer");

            // A registry that comes back knows nothing, until it has asked.
            net.host("registry").kill();
            start_registry(&net, "registry");
            sleep(SOON);
            assert_eq!(live(), ["answer", "echo"]);
        });
    });
}

/// One answer that is late does not make a service come and go.
#[test]
fn a_link_that_breaks_now_and_then_takes_nobody_off_the_list() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        network.set_link("main", "echo", Link::new().cuts(Duration::from_secs(20)));
        start_service(&network, "echo", "echo", &["registry"]);
        network.run(|| {
            let registry = registry("registry");
            sleep(SOON);
            for _ in 0..100 {
                assert_eq!(registry.count(), 1);
                sleep(INTERVAL);
            }
        });
    });
}

#[test]
fn changes_are_told_from_the_beginning_to_threads_and_to_tasks() {
    seeds(0..=4, |seed| {
        let network = Network::new(seed);
        start_service(&network, "echo", "echo", &["registry"]);
        let net = network.clone();
        network.run(move || {
            let registry = registry("registry");
            let name = |kind: ChangeKind| match kind {
                ChangeKind::Joined(service) => format!("+{}", service.name()),
                ChangeKind::Left(service) => format!("-{}", service.name()),
                other => format!("{other:?}"),
            };
            let early: Changes = registry.changes();
            let told = spawn(move || early.map(|change| name(change.kind)).collect::<Vec<_>>());
            sleep(SOON);
            let late = registry.changes(); // is told who is there
            let streamed = spawn(move || {
                let names = late.into_stream().map(|change| name(change.kind));
                block_on(names.collect::<Vec<_>>())
            });
            net.host("echo").kill();
            sleep(SOON);
            registry.close();
            assert_eq!(told.join().unwrap(), ["+echo", "-echo"]);
            assert_eq!(streamed.join().unwrap(), ["+echo", "-echo"]);
        });
    });
}

#[test]
fn requests_go_to_the_near_service_while_it_is_there() {
    seeds(0..=4, |seed| {
        let network = Network::new(seed);
        for host in ["near", "far"] {
            start_service(&network, host, "echo", &["registry"]);
        }
        let net = network.clone();
        network.run(move || {
            let _registry = registry("registry");
            let by_host = |service: &Service| {
                Some(if service.metadata("host") == Some("near") { 1 } else { 9 })
            };
            let resolver = resolver(&["registry"]).priority(by_host).start().unwrap();
            let req = resolver.req("echo").unwrap();
            sleep(SOON);
            let ask = || req.request_timeout("where?", SOON).unwrap().to_string();
            assert_eq!([ask(), ask(), ask()], ["near", "near", "near"]);
            net.host("near").kill();
            sleep(SOON);
            assert_eq!([ask(), ask()], ["far", "far"]);
            start_service(&net, "near", "echo", &["registry"]);
            sleep(SOON);
            assert_eq!(ask(), "near");
        });
    });
}

/// Publishers too, and on all of them.
#[test]
fn a_sub_hears_all_publishers_of_a_name() {
    let network = Network::new(3);
    for host in ["one", "two"] {
        network.host(host).spawn(move || {
            let (publisher, address) = (Pub::new(), format!("sim://{host}"));
            publisher.bind(&address).unwrap();
            let service = Service::new("news", address);
            let _announcement = Announcement::new(service, [surveys("registry")]).unwrap();
            loop {
                publisher.send(here().name()).unwrap();
                sleep(INTERVAL);
            }
        });
    }
    network.set_time_limit(SOON * 3);
    network.run(|| {
        let _registry = registry("registry");
        let sub = resolver(&["registry"]).start().unwrap().sub("news").unwrap();
        sub.subscribe("").unwrap();
        let mut heard = BTreeSet::new();
        while heard.len() < 2 {
            heard.insert(sub.recv().unwrap().to_string());
        }
    });
}

/// While no registry answers, and while one has just begun, connections stay.
#[test]
fn a_registry_that_restarts_ends_no_connection() {
    seeds(0..=4, |seed| {
        let network = Network::new(seed);
        start_registry(&network, "registry");
        start_service(&network, "echo", "echo", &["registry"]);
        let net = network.clone();
        network.run(move || {
            let req = resolver(&["registry"]).start().unwrap().req("echo").unwrap();
            sleep(SOON);
            assert_eq!(req.stats().established_connections, 1);
            for _ in 0..5 {
                net.host("registry").kill();
                sleep(SOON);
                start_registry(&net, "registry");
                sleep(SOON);
            }
            assert_eq!(req.request_timeout("well?", SOON).unwrap(), "echo");
            assert_eq!(req.stats().established_connections, 1);
        });
    });
}

const REGISTRIES: [&str; 3] = ["registry-0", "registry-1", "registry-2"];
/// Each with so many services, so that there are 200.
const HOSTS: usize = 20;
const EACH: usize = 10;

/// Starts a host with its services: 0 is the first of host 0.
fn start_host(network: &Network, host: usize) {
    network.host(&format!("host-{host}")).spawn(move || {
        let announce = |n: usize| {
            let number = host * EACH + n;
            let service = Service::new(format!("service-{number}"), format!("sim://{number}"));
            Announcement::new(service, REGISTRIES.map(surveys)).unwrap()
        };
        let _announcements: Vec<Announcement> = (0..EACH).map(announce).collect();
        forever();
    });
}

/// What befalls the hosts, and who is to be found.
struct Chaos {
    network: Network,
    random: u64,
    /// By host: whether it lives, and whether it is cut off.
    hosts: Vec<(bool, bool)>,
    registries: [bool; 3],
}

impl Chaos {
    fn roll(&mut self, sides: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.random >> 33).unwrap() % sides
    }

    /// Something happens: a host, or a registry, is killed, started, cut off or all cables are plugged in.
    fn happen(&mut self) {
        let (host, registry) = (self.roll(HOSTS), self.roll(3));
        match self.roll(8) {
            0..=2 if self.hosts[host].0 => {
                self.network.host(&format!("host-{host}")).kill();
                self.hosts[host].0 = false;
            }
            0..=2 => {
                start_host(&self.network, host);
                self.hosts[host].0 = true;
            }
            3 | 4 => {
                self.network.partition(&[&format!("host-{host}")]);
                self.hosts[host].1 = true;
            }
            5 => {
                self.network.heal();
                self.hosts.iter_mut().for_each(|it| it.1 = false);
            }
            // One of them lives.
            _ if self.registries[registry] => {
                if self.registries.iter().filter(|lives| **lives).count() > 1 {
                    self.network.host(REGISTRIES[registry]).kill();
                    self.registries[registry] = false;
                }
            }
            _ => {
                start_registry(&self.network, REGISTRIES[registry]);
                self.registries[registry] = true;
            }
        }
    }

    fn reachable(&self) -> BTreeSet<String> {
        let services = (0..HOSTS * EACH).filter(|service| {
            let (lives, is_cut_off) = self.hosts[service / EACH];
            lives && !is_cut_off
        });
        services.map(|service| format!("sim://{service}")).collect()
    }
}

/// All addresses that any registry gives away.
fn given_away(resolver: &Resolver) -> BTreeSet<String> {
    let lists = resolver.lists().expect("a registry answers");
    let all = lists.into_iter().flat_map(|list| list.services);
    all.flat_map(|service| service.addresses().to_vec()).collect()
}

/// 200 services, 3 registries: two intervals after each event nobody is resolved who is dead or cut off, and once
/// dialers have come back everybody is who is not. `SINEW_TEST_SEEDS` has more happen.
#[test]
fn only_live_services_resolve_two_intervals_after_anything() {
    seeds(0..=0, |seed| {
        let network = Network::new(seed);
        REGISTRIES.iter().for_each(|registry| start_registry(&network, registry));
        (0..HOSTS).for_each(|host| start_host(&network, host));
        let net = network.clone();
        network.run(move || {
            let resolver = resolver(&REGISTRIES).start().unwrap();
            let mut chaos = Chaos {
                network: net,
                random: seed,
                hosts: vec![(true, false); HOSTS],
                registries: [true; 3],
            };
            sleep(SOON);
            assert_eq!(given_away(&resolver), chaos.reachable());
            for _ in 0..6 {
                chaos.happen();
                sleep(2 * INTERVAL);
                let (given, live) = (given_away(&resolver), chaos.reachable());
                let dead: Vec<_> = given.difference(&live).collect();
                assert!(dead.is_empty(), "these do not live: {dead:?}");
                let number = chaos.roll(HOSTS * EACH);
                let found = addresses(&resolver, &format!("service-{number}"));
                assert!(found.is_empty() || live.contains(&found[0]));
            }
            sleep(RECONNECTED + SOON);
            assert_eq!(given_away(&resolver), chaos.reachable(), "all who live are found");
        });
    });
}
