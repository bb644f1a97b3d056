"""Everything that is wrong is said at once: file, line, key, what is wrong, what is allowed."""

from pathlib import Path

import pytest

from mainstay.config.machine import of_channels

GOOD_MODEL = 'base_url = "https://h/v1"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[servicee]\nport = 1\n", "mainstay.toml:1: [servicee]: unknown section; did you mean service?"),
        ("port = 1\n", "mainstay.toml:1: [port]: unknown section"),
        ("service = 3\n", "mainstay.toml:1: service: must be a table, written as [service]"),
        ("[models]\nprimary = 3\n", "mainstay.toml:2: models.primary: must be a table, written as [models.NAME]"),
        ("[service]\nprot = 1\n", "mainstay.toml:2: service.prot: unknown key; did you mean port?"),
        *(
            (f"[apps.web]\ncommand = 'x'\n{line}\n", f"mainstay.toml:{at}: apps.web.{problem}")
            for at, line, problem in (
                (3, "liveness = 3", "liveness: must be a table, written as [apps.web.liveness]"),
                (4, "[apps.web.liveness]\nhtpp = 'http://h/'", "liveness.htpp: unknown key; did you mean http?"),
                (4, "[apps.web.liveness]\ntcp = '6379'", "liveness.tcp: '6379' is not an address"),
                (4, "[apps.web.liveness]\nhttp = 'h:1/x'", "liveness.http: 'h:1/x' is not an address"),
                (4, "[apps.web.liveness]\nhttp = 'http://u:p@h/'", "liveness.http: 'http://u:p@h/' holds a user"),
                (4, "[apps.web.liveness]\nhttp = 'http://unix:/'", "liveness.http: 'http://unix:/' has no path"),
                (4, "[apps.web.liveness]\ncommand = []", "liveness.command: [] is not a command"),
                (4, "[apps.web.liveness]\nperiod = '1ms'", "liveness.period: '1ms' is too short"),
                (4, "[apps.web.liveness]\ntimeout = 0", "liveness.timeout: must be more than 0"),
                (4, "[apps.web.liveness]\nfailure_threshold = 0", "liveness.failure_threshold: 0 is no number"),
                (3, "[apps.web.liveness]", "liveness: asks nothing, or several things at once"),
                (3, "liveness = { tcp = 'h:1', http = 'http://h' }", "liveness: asks nothing, or several things"),
                (3, "startup = { tcp = 'h:1', success_threshold = 2 }", "startup.success_threshold: must be 1"),
                (3, "[apps.web.health]", "health.http: is missing"),
                (4, "[apps.web.health]\ntcp = 'h:1'", "health.tcp: unknown key"),
                (3, "ready = 'probe'", "ready: is probe, and there is none: write [apps.web.readiness]"),
                (3, "cron_restart = '0 3 * *'", "cron_restart: '0 3 * *' is no time for cron"),
                (3, "cron_restart = '0 25 * * *'", "cron_restart: '0 25 * * *' is no time for cron: Bad hour"),
                (3, "cron_restart = '0 0 31 2 *'", "cron_restart: '0 0 31 2 *' is no time for cron: Bad day"),
            )
        ),
        ("[service]\nport = 70000\n", "mainstay.toml:2: service.port: 70000 is not a port"),
        ("[service]\nport = -1\n", "mainstay.toml:2: service.port: -1 is not a port"),
        ('[service]\nport = "x"\n', "mainstay.toml:2: service.port: 'x' is not a whole number"),
        ("[service]\nport = true\n", "mainstay.toml:2: service.port: must be a whole number, not true"),
        ("[service]\nport = 1.5\n", "mainstay.toml:2: service.port: must be a whole number, not 1.5"),
        ("[service]\nname = 3\n", "mainstay.toml:2: service.name: must be text in quotes, not 3"),
        ('[service]\nname = "a b"\n', "mainstay.toml:2: service.name: 'a b' is not a name"),
        ('[service]\nhost = "http://x"\n', "mainstay.toml:2: service.host: 'http://x' is not an address"),
        ('[service]\npublic_hosts = "x"\n', ""),
        ('[service]\npublic_hosts = ["https://x"]\n', "service.public_hosts: 'https://x' is not a host name"),
        ('[service]\nresponder = "module"\n', "service.responder: 'module' is not a factory"),
        ('[service]\nturn_timeout = "5 parsecs"\n', "service.turn_timeout: '5 parsecs' is not a duration"),
        ("[service]\nturn_timeout = -1\n", "service.turn_timeout: -1 is not a duration"),
        ("[service]\nturn_timeout = 0\n", "service.turn_timeout: must be more than 0"),
        ("[service]\nturn_timeout = inf\n", "service.turn_timeout: inf is not a duration"),
        ("[service]\nturn_timeout = nan\n", "service.turn_timeout: nan is not a duration"),
        ("[turns]\nconcurrency = 0\n", "turns.concurrency: must be more than 0"),
        ("[containment]\nmax_errors = 0\n", "containment.max_errors: must be more than 0"),
        ("[containment]\nmax_errors = -1\n", "containment.max_errors: -1 must be finite and not negative"),
        ('[containment]\nwindow = "0s"\n', "containment.window: must be more than 0"),
        ("[turns]\nconcurrency = -4\n", "turns.concurrency: -4 must be finite and not negative"),
        ('[memory]\nhistory_bytes = "1 XB"\n', "memory.history_bytes: '1 XB' is not a size"),
        ('[logs]\nlevel = "loud"\n', "logs.level: 'loud' is not one of debug, info, warning, error"),
        ('[logs]\nformat = "jsn"\n', "logs.format: 'jsn' is not one of auto, text, json; did you mean json?"),
        (
            '[storage]\nurl = "mysql://h/d"\n',
            "mainstay.toml:2: storage.url: this version keeps",
        ),
        ("[apps.web]\ninstances = 2\n", "mainstay.toml:1: apps.web.command: is missing"),
        ("[apps.web]\ncommand = []\n", "mainstay.toml:2: apps.web.command: [] is not a command: write it like"),
        ('[apps.web]\ncommand = ""\n', "mainstay.toml:2: apps.web.command: '' is not a command: write it like"),
        ('[apps.web]\ncommand = ["", "x"]\n', "apps.web.command: ['', 'x'] is not a command"),
        ("[apps.web]\ncommand = [1]\n", "mainstay.toml:2: apps.web.command: [1] is not a command"),
        ('[apps.web]\ncommand = "sh -c \\"x"\n', "can not be split into words: No closing quotation"),
        ('[apps.web]\ncommand = ["redis-server", "--save", ""]\n', ""),
        ("[models.primary]\n", "mainstay.toml:1: models.primary.base_url: is not an address"),
        ("[models.primary]\n", "mainstay.toml:1: models.primary.model: is missing"),
        (
            f"[models.primary]\n{GOOD_MODEL}price = 1\n",
            "mainstay.toml:4: models.primary.price: a price",
        ),
        (f"[models.primary]\n{GOOD_MODEL}api_key = 12\n", "mainstay.toml:4: models.primary.api_key: must be text"),
        (
            f'[models.primary]\n{GOOD_MODEL}api_key = "env:NOT_THERE"\n',
            "mainstay.toml:4: models.primary.api_key: the environment variable NOT_THERE is not set",
        ),
        (
            '[models.primary]\nbase_url = "https://u:pw123@h/v1"\nmodel = "m"\n',
            "mainstay.toml:2: models.primary.base_url: holds a user or a password; use api_key",
        ),
        *(
            (
                f'[models.primary]\nbase_url = "{url}"\nmodel = "m"\n',
                "models.primary.base_url: is not an address; write",
            )
            for url in ("http://[h/v1", "http://h:99999/v1", "http://h:x/v1", "http://a b/v1")
        ),
        (
            f'[models.primary]\n{GOOD_MODEL}api_key = "a\\nb"\n',
            "models.primary.api_key: this key holds a character",
        ),
        (
            f'[models.primary]\n{GOOD_MODEL}api_key = "schlüssel"\n',
            "models.primary.api_key: this key holds a character",
        ),
        (
            '[budget]\nretention = "99999999999d"\n',
            "budget.retention: '99999999999d' is not a duration that a calendar",
        ),
        ("[budget]\nretention = 1e300\n", "budget.retention: 1e+300 is not a duration that a calendar has: write"),
        ('[budget]\nper_day = "1e999999"\n', "budget.per_day: '1e999999' is not an amount"),
        (
            "[containment]\nmax_errors = 1000000000000000000000\n",
            "containment.max_errors: 1000000000000000000000 is more",
        ),
        ('[turns]\nretry_window = "2d"\n', "turns.retry_window: is longer than inbox.retention, 1d: what is to be"),
        (
            '[turns]\nretry_window = "2d"\n[inbox]\nretention = "3d"\n[channels.feishu]\n',
            "turns.retry_window: is longer than channels.feishu.keep, 1d: what is to be tried again would be",
        ),
        (
            f'[models.primary]\n{GOOD_MODEL}first_token_timeout = "3m"\n',
            "mainstay.toml:4: models.primary.first_token_timeout: is longer than total_timeout, 2m",
        ),
        ('[models."a b"]\n', "mainstay.toml:1: [models.'a b']: is not a name"),
        ("[models]\n", "agents.manager.models: is empty: no model could answer"),
        ("[channels]\n", "channels: there is none"),
        ("[agents.okr]\n", "agents: there is no agent named manager"),
        (
            '[agents.manager]\nmodels = [\n  "primry",\n]\n',
            "mainstay.toml:2: agents.manager.models: there is no model named primry; did you mean primary?",
        ),
        ('[agents.manager]\nmodels = ["primary", "primary"]\n', "names the same thing twice: primary, primary"),
        ("[agents.manager]\nmodels = [1]\n", 'agents.manager.models: must be a list of texts, like ["a", "b"]'),
        (
            '[agents.manager]\nspecialists = ["okrr"]\n[agents.okr]\n',
            "mainstay.toml:2: agents.manager.specialists: there is no agent named okrr; did you mean okr?",
        ),
        ('[agents.manager]\nspecialists = ["x"]\n', "there is no agent named x; add [agents.x]"),
        ('[agents.manager]\nspecialists = ["manager"]\n', "manager can not hand over to itself"),
        (
            '[channels.feishu]\nkind = "slack"\n',
            "channels.feishu.kind: 'slack' is not one of feishu, console, package.",
        ),
        ('[channels.a]\nkind = "a b:c"\n', "channels.a.kind: 'a b:c' is not a factory"),
        ('[channels.a]\nkind = "a:b"\nsecret = "x"\n', "channels.a.secret: unknown key"),
        ('[channels.a]\nkind = "a:b"\noptions = { key = 1 }\n', "channels.a.options: key must be text in quotes"),
        ('[channels.a]\nkind = "a:b"\noptions = { key = "env:NOWHERE" }\n', "variable NOWHERE is not set"),
        ('[channels.console]\napp_id = "cli_1"\n', "channels.console.app_id: unknown key"),
        ('[channels.console]\nwait = "0s"\n', "channels.console.wait: "),
        ('[channels.feishu]\napp_id = "cli_1"\n', "mainstay.toml:1: channels.feishu: app_secret is missing"),
        ('[channels.feishu]\napp_secret = "s"\n', "mainstay.toml:1: channels.feishu: app_id is missing"),
        (
            '[channels.a]\napp_id = "c"\napp_secret = "s"\nencrypt_key = "k"\n'
            '[channels.b]\napp_id = "c"\napp_secret = "s"\nencrypt_key = "k"\n',
            "mainstay.toml:6: channels.b.app_id: c is the bot of a and b: one channel per bot",
        ),
        (
            "[sandbox]\nenabled = false\n",
            "mainstay.toml:2: sandbox.enabled: is false, and only",
        ),
        ("[health]\ndegraded_error_rate = 0.9\n", "health.degraded_error_rate: is above unhealthy_error_rate, 0.5"),
        ('[health]\nwindow = "2h"\n', "health.window: is longer than widest_window, 1h"),
        ("[memory]\nkept_per_lane = 3\n", "memory.kept_per_lane: is below history, 20"),
        ('[budget]\nper_day = "-1"\n', "mainstay.toml:2: budget.per_day: '-1' is not an amount"),
        ("[budget]\nper_day = 0.5\n", 'budget.per_day: 0.5 is not exact: write it in quotes, like "0.5"'),
        ('[budget]\nper_chat_per_day = "much"\n', "budget.per_chat_per_day: 'much' is not an amount"),
        ('[budget]\nper_dy = "1"\n', "budget.per_dy: unknown key; did you mean per_day?"),
        ("[budget]\nallow = 3\n", "budget.allow: must be a list of texts"),
        (
            f"[models.a]\n{GOOD_MODEL}budget_per_day = 0.5\n",
            "mainstay.toml:4: models.a.budget_per_day: 0.5 is not exact",
        ),
        (
            f'[models.a]\n{GOOD_MODEL}[budget]\nper_day = "5"\n',
            "mainstay.toml:1: models.a.price: is missing, and without it no budget can be held; for a free model "
            'write price = { input = "0", output = "0" }',
        ),
        (
            f'[models.a]\n{GOOD_MODEL}[budget]\nper_chat_per_day = "5"\n',
            "models.a.price: is missing",
        ),
        (
            f'[models.a]\n{GOOD_MODEL}[models.b]\n{GOOD_MODEL}budget_per_day = "5"\n'
            '[agents.manager]\nmodels = ["a"]\n',
            "models.b.price: is missing",
        ),
        (
            f'[models.a]\n{GOOD_MODEL}price = {{ input = "1", output = "20" }}\nmax_output_tokens = 10000\n'
            '[budget]\nper_chat_per_day = "0.1"\n',
            "mainstay.toml:5: models.a.max_output_tokens: one answer might cost 0.2 USD, more than its budget of "
            "0.1, so that it would never be asked",
        ),
        (
            f'[models.a]\n{GOOD_MODEL}[agents.manager]\nmodels = ["a"]\n[budget]\nallow = ["v/*"]\n',
            "mainstay.toml:5: agents.manager.models: a is m, which budget.allow does not have: add it there, or "
            "take a out",
        ),
        (
            '[service]\nresponder = "m:f"\n[budget]\nper_day = "1"\n',
            "mainstay.toml:4: budget.per_day: can not be held for an agent of your own (service.responder)",
        ),
        (
            '[service]\nresponder = "m:f"\n[budget]\nallow = ["x"]\n',
            "mainstay.toml:4: budget.allow: can not be held for an agent of your own",
        ),
        (
            f'[service]\nresponder = "m:f"\n[models.a]\n{GOOD_MODEL}budget_per_day = "1"\n',
            "mainstay.toml:6: models.a.budget_per_day: can not be held for an agent of your own",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(project, problems, toml: str, expected: str) -> None:
    if expected:
        assert any(expected in problem for problem in problems(toml)), problems(toml)
    else:
        assert project(toml)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[service]\nport = \n", "mainstay.toml:2: is not valid TOML: Invalid value"),
        ("[service]\nport = 1\nport = 2\n", "mainstay.toml:3: is not valid TOML: Cannot overwrite a value"),
        ("[service]\n[service]\n", "mainstay.toml:2: is not valid TOML: Cannot declare"),
        ('[service]\nname = "open\n', "mainstay.toml:2: is not valid TOML"),
        ('[service]\nname = """open\n\n', "mainstay.toml:2: is not valid TOML"),
        ("x = " + "[" * 100_000, "mainstay.toml"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(problems, toml: str, expected: str) -> None:
    [problem] = problems(toml)
    assert problem.startswith(expected)
    assert len(problem) < 200


def test_all_problems_come_at_once_in_the_order_of_the_file(problems) -> None:
    first = '[service]\nprot = 1\nport = "x"\n[agents.manager]\nmodels = ["primry"]\n'
    found = problems(f"{first}[modelss.x]\n[turns]\nconcurrency = 0\n")
    assert [problem.split(":")[1] for problem in found] == ["2", "3", "5", "6", "8"]


def test_a_refused_value_is_complained_about_once(problems) -> None:
    assert len(problems('[models.primary]\nbase_url = 3\nmodel = "m"\n')) == 1


def test_wrong_variables_are_named_with_their_origin(problems) -> None:
    assert problems(environ={"PORT": "many"}) == ["environment PORT: service.port: 'many' is not a whole number"]
    assert problems(dotenv="LOG_LEVEL=loud\n")[0].startswith(".env:1: logs.level: 'loud' is not one of")
    assert problems(environ={}, flags={"service.port": "x"})[0].startswith("flag --port: service.port: 'x'")


def test_a_variable_of_ours_that_sets_nothing_is_a_mistake(problems) -> None:
    [problem] = problems(environ={"MAINSTAY_SERVICE_PROT": "1"})
    assert problem.startswith("environment MAINSTAY_SERVICE_PROT: ")
    assert problem.endswith("sets nothing; did you mean MAINSTAY_SERVICE_PORT?")
    [problem] = problems(environ={"MAINSTAY_MODELS_OTHER_MODEL": "x"})
    assert "MAINSTAY_MODELS_OTHER_MODEL sets nothing" in problem


def test_other_variables_are_none_of_our_business(project) -> None:
    assert project(environ={"MAINSTAY_SOAK": "1", "MAINSTAYING": "x", "HOME": "/root", "PORTS": "x"})


def test_another_bot_that_is_kept_running_has_its_own_way_with_a_channel_s_variables(project, problems) -> None:
    credentials = "FEISHU_APP_ID=cli_1\nFEISHU_APP_SECRET=s\nFEISHU_SUBSCRIPTION_MODE=false\n"
    config = project('[apps.bot]\ncommand = "node bot.js"\n', dotenv=credentials)
    assert {key.partition(".")[0] for key, _ in of_channels(config)} == {"channels"}, "who serves here is told"
    assert any("channels.feishu" in each for each in problems('[apps.us]\ncommand = "mainstay serve"\n'))


def test_a_line_of_dotenv_that_is_no_assignment_is_named(problems) -> None:
    [problem] = problems(dotenv='A=1\n\nFEISHU_APP_ID="open\n')
    assert problem.startswith(".env:3: is not an assignment")


def test_a_file_of_another_encoding_is_named_with_its_line(problems, tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").write_bytes('[service]\n# ok\nname = "中文"\n'.encode("gbk"))
    assert problems() == ["mainstay.toml:3: is not UTF-8 text; save the file with that encoding"]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(project, tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").write_bytes(b"\xef\xbb\xbf[service]\r\n\r\nport = 3009\r\n")
    config = project()
    assert (config.service.port, config.origin("service.port")) == (3009, "mainstay.toml:3")


def test_a_directory_of_that_name_is_told(problems, tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").mkdir()
    assert "is a directory, not a file" in problems()[0]


def test_a_dangling_link_is_not_taken_for_no_file(problems, tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").symlink_to("nowhere")
    assert "mainstay.toml: can not be read: No such file or directory" in problems()[0]


def test_an_unreadable_file_is_told(problems, tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").symlink_to("mainstay.toml")  # nobody can read that, not even root
    assert "can not be read: Too many levels of symbolic links" in problems()[0]


def test_no_problem_ever_shows_a_secret(problems) -> None:
    toml = '[models.primary]\nbase_url = "https://h/v1"\napi_key = "hush-hush"\nidle_timeout = 0\n'
    assert "hush" not in "".join(problems(toml))


@pytest.mark.parametrize(
    "toml",
    [
        '[budget]\nper_day = "5"\nper_chat_per_day = 1\nallow = ["x"]\n',  # the sandbox's models cost nothing
        f'[models.a]\n{GOOD_MODEL}[models.spare]\n{GOOD_MODEL}price = {{ input = "1", output = "2" }}\n'
        'budget_per_day = "1"\n[agents.manager]\nmodels = ["spare"]\n[budget]\nper_day = "5"\n',
        f'[models.a]\n{GOOD_MODEL}price = {{ input = "0", output = "0" }}\n[budget]\nper_day = "0"\n',
        f'[models.a]\n{GOOD_MODEL}price = {{ input = "1", output = "2" }}\n[budget]\nper_day = "0"\n',
        f'[models.a]\n{GOOD_MODEL}[budget]\nallow = ["n", "M"]\n',
    ],
)
def test_a_budget_that_can_be_held_is_taken(project, toml: str) -> None:
    assert project(toml).budget.retention == 90 * 86_400


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ('{ "A=B" = "c" }', "apps.web.env: 'A=B' is not the name of a variable"),
        ("{ A = 1 }", "apps.web.env: A must be text in quotes"),
        ('"A=b"', "apps.web.env: write a table of texts"),
    ],
)
def test_the_environment_of_an_app_has_names_and_texts(problems, env: str, problem: str) -> None:
    [found] = problems(f'[apps.web]\ncommand = "x"\nenv = {env}\n')
    assert found.startswith(f"mainstay.toml:3: {problem}")


def test_a_variable_of_an_app_may_have_several_lines(project) -> None:
    config = project('[apps.web]\ncommand = "x"\nenv = { KEY = "a\\nb" }\n')
    assert config.apps["web"].env == {"KEY": "a\nb"}
