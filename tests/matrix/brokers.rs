//! The brokers: how each is found, configured and started. All of them listen on loopback only, in a directory of their
//! own; none of them shares a file, a port or a node name with one that the system runs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};

use super::connack::{Account, Mqtt};
use crate::broker::HOST;

/// Where a broker is started.
pub(super) struct Place<'a> {
    pub(super) directory: &'a Path,
    pub(super) version: Mqtt,
    /// The port that clients use.
    pub(super) port: u16,
    /// For what else a broker insists on listening to.
    pub(super) more_ports: [u16; 3],
}

impl Place<'_> {
    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// How one broker is run.
pub(super) struct Recipe {
    pub(super) name: &'static str,
    /// What brings it.
    pub(super) get: &'static str,
    /// Whether it is here.
    pub(super) program: fn() -> Option<PathBuf>,
    /// A program that it needs beside it, and which outlives its restarts.
    pub(super) companion: Option<fn(&Place) -> Command>,
    /// Writes its configuration, and starts it: as one process, so that killing that kills it.
    pub(super) command: fn(&Path, &Place) -> Command,
    /// Who may connect, where not everybody may.
    pub(super) account: Option<Account>,
    /// What the program says when it is asked for its version, or the log since its start.
    pub(super) version: fn(&Path, log: &str) -> String,
}

/// As its package starts it: a queue of 1,000, nothing on the disk until it ends.
pub(super) const MOSQUITTO: Recipe = Recipe {
    name: "Mosquitto",
    get: "apt-get install mosquitto",
    program: || find("mosquitto"),
    companion: None,
    command: |program, place| {
        let port = place.port;
        // As root it would become a user who cannot write here.
        let own = "user root\nallow_anonymous true\npersistence true\npersistence_location ./\nlog_dest stderr\n";
        place.write("mosquitto.conf", &format!("listener {port} {HOST}\n{own}"));
        run(program, &["-c", "mosquitto.conf"])
    },
    account: None,
    version: |_, log| behind(log, "mosquitto version "),
};

pub(super) const NATS: Recipe = Recipe {
    name: "NATS",
    get: "apt-get install nats-server",
    program: || find("nats-server"),
    companion: None,
    command: |program, place| {
        let (port, [own, ..]) = (place.port, place.more_ports);
        place.write(
            "nats.conf",
            &format!(
                "server_name: matrix\nlisten: \"{HOST}:{own}\"\njetstream {{ store_dir: \"jetstream\" }}\n\
                 mqtt {{ listen: \"{HOST}:{port}\" }}\n"
            ),
        );
        run(program, &["-c", "nats.conf"])
    },
    account: None,
    version: |_, log| behind(log, "Version:"),
};

/// An Erlang node with a name of its own, known to a register of names of its own.
pub(super) const RABBITMQ: Recipe = Recipe {
    name: "RabbitMQ",
    get: "apt-get install rabbitmq-server",
    // Debian's program in PATH would become another user, in another session, before it starts this one.
    program: || Some(PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server")).filter(|path| path.is_file()),
    companion: Some(|place| {
        let names = place.more_ports[0].to_string();
        run(&find("epmd").expect("RabbitMQ needs Erlang, and Erlang has epmd"), &["-address", HOST, "-port", &names])
    }),
    command: |program, place| {
        let (port, [names, distribution, _]) = (place.port, place.more_ports);
        let listeners = format!("listeners.tcp = none\nmqtt.listeners.tcp.1 = {HOST}:{port}\n");
        place.write("rabbitmq.conf", &format!("{listeners}mqtt.allow_anonymous = true\n"));
        place.write("enabled_plugins", "[rabbitmq_mqtt].\n");
        let mut command = run(program, &[]);
        command
            // The script becomes the broker, rather than its parent.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("HOME", place.directory)
            .env("ERL_EPMD_ADDRESS", HOST)
            .env("ERL_EPMD_PORT", names.to_string())
            .env("RABBITMQ_NODENAME", format!("matrix-{port}@localhost"))
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", place.path("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", place.path("enabled_plugins"))
            .env("RABBITMQ_FEATURE_FLAGS_FILE", place.path("feature_flags"))
            .env("RABBITMQ_MNESIA_BASE", place.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", place.path("log"));
        command
    },
    account: None,
    version: |_, log| behind(log, "RabbitMQ "),
};

/// Without a name an Erlang node listens to no other, so it is started by hand and not by `ejabberdctl`.
pub(super) const EJABBERD: Recipe = Recipe {
    name: "ejabberd",
    get: "apt-get install ejabberd",
    program: || find("erl").filter(|_| ejabberd_libraries().is_some()),
    companion: None,
    command: |program, place| {
        let port = place.port;
        // A queue like Mosquitto's, not 5,000: both overflow on the same readings.
        let listen = format!("listen:\n  -\n    module: mod_mqtt\n    ip: {HOST}\n    port: {port}\n");
        let modules = "modules:\n  mod_mqtt:\n    max_queue: 1000\n";
        place.write(
            "ejabberd.yml",
            &format!("hosts: [localhost]\nauth_method: internal\nacme:\n  auto: false\n{listen}{modules}"),
        );
        let (user, password) = EJABBERD_ACCOUNT;
        let (name, host) = user.split_once('@').unwrap();
        let register = format!("ejabberd_auth:try_register(<<\"{name}\">>, <<\"{host}\">>, <<\"{password}\">>).");
        let spool = format!("\"{}\"", place.path("spool"));
        let mut command = run(program, &["-noinput", "-mnesia", "dir", &spool, "-s", "ejabberd", "-eval", &register]);
        command
            .env("HOME", place.directory)
            .env("ERL_LIBS", ejabberd_libraries().unwrap())
            .env("ERL_CRASH_DUMP", place.path("crash"))
            .env("EJABBERD_CONFIG_PATH", place.path("ejabberd.yml"))
            .env("EJABBERD_LOG_PATH", place.path("ejabberd.log"));
        command
    },
    account: Some(EJABBERD_ACCOUNT),
    version: |_, log| behind(log, "ejabberd "),
};

const EJABBERD_ACCOUNT: Account = ("ward@localhost", "a-password");

/// It has a listener of its own for each version.
pub(super) const RUMQTTD: Recipe = Recipe {
    name: "rumqttd",
    get: "cargo install rumqttd",
    program: || find("rumqttd"),
    companion: None,
    command: |program, place| {
        let version = if place.version == Mqtt::V5 { "v5" } else { "v4" };
        let router = "max_connections = 100\nmax_outgoing_packet_count = 200\nmax_segment_size = 104857600\n\
                      max_segment_count = 10\n";
        let connections = "connection_timeout_ms = 60000\nmax_payload_size = 20480\nmax_inflight_count = 100\n\
                           dynamic_filters = true\n";
        let listener = format!("name = \"matrix\"\nlisten = \"{HOST}:{}\"\nnext_connection_delay_ms = 1\n", place.port);
        place.write(
            "rumqttd.toml",
            &format!(
                "id = 0\n[router]\nid = 0\n{router}[{version}.1]\n{listener}[{version}.1.connections]\n{connections}"
            ),
        );
        run(program, &["-q", "-c", "rumqttd.toml"])
    },
    account: None,
    version: |program, _| {
        let output = Command::new(program).arg("--version").output().unwrap();
        behind(&String::from_utf8_lossy(&output.stdout), "rumqttd ")
    },
};

/// The crate that is embedded in `mqtt-subscriber demo`, in a process of its own, so that it can be killed.
pub(super) const MQTT5: Recipe = Recipe {
    name: "mqtt5",
    get: "nothing: it is part of this test",
    program: || env::current_exe().ok(),
    companion: None,
    command: |program, place| {
        let mut command = run(program, &["--ignored", "--exact", "matrix::brokers::mqtt5_as_a_process", "--nocapture"]);
        command.env(MQTT5_PORT, place.port.to_string());
        command
    },
    account: None,
    version: |_, _| behind(include_str!("../../Cargo.lock"), "name = \"mqtt5\"\nversion = \"").replace('"', ""),
};

const MQTT5_PORT: &str = "SECUREMQTT_MATRIX_MQTT5_PORT";

#[test]
#[ignore = "no test: the mqtt5 broker, as the process that the tests of it start"]
fn mqtt5_as_a_process() {
    let port = env::var(MQTT5_PORT).expect("only the tests of mqtt5 start it").parse().unwrap();
    let storage = StorageConfig::new().with_backend(StorageBackend::File).with_base_dir(PathBuf::from("storage"));
    let config = BrokerConfig::default().with_bind_address(([127, 0, 0, 1], port)).with_storage(storage);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { MqttBroker::with_config(config).await.unwrap().run().await.unwrap() });
}

/// A program; Debian puts servers where only root's `PATH` looks.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|program| program.is_file())
}

/// Where its package keeps its modules, as its own start script knows.
fn ejabberd_libraries() -> Option<String> {
    let script = fs::read_to_string(find("ejabberdctl")?).ok()?;
    script.lines().find_map(|line| Some(line.strip_prefix("ERL_LIBS='")?.strip_suffix('\'')?.to_owned()))
}

fn run(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The word behind a text.
fn behind(text: &str, what: &str) -> String {
    let rest = text.split_once(what).map_or("", |(_, rest)| rest);
    rest.split_whitespace().next().unwrap_or("of an unknown version").to_owned()
}
