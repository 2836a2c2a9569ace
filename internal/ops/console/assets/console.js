'use strict'

// All text that comes from the outbox is set as text, never as markup.
const $ = (id) => document.getElementById(id)
const every = 2000
const kept = 150
const lags = []
const rates = []
let token = sessionStorage.getItem('token') || ''
let shown = null
let deliveredHere = {}

async function call (path, body) {
  const headers = token ? { Authorization: 'Bearer ' + token } : {}
  const options = body === undefined ? { headers } : {
    method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify(body)
  }
  const answer = await fetch('api/v1/' + path, options)
  const document = await answer.json()
  if (!answer.ok) throw new Error(document.error || answer.statusText)
  return document
}

const number = (n) => Math.round(n).toLocaleString('en')
const bytes = (n) => n < 1024 ? n + ' B' : n < 1048576 ? (n / 1024).toFixed(1) + ' KiB' : n < 1073741824 ? (n / 1048576).toFixed(1) + ' MiB' : (n / 1073741824).toFixed(1) + ' GiB'
const seconds = (s) => s < 1 ? Math.round(s * 1000) + ' ms' : s < 120 ? s.toFixed(1) + ' s' : s < 7200 ? Math.round(s / 60) + ' min' : (s / 3600).toFixed(1) + ' h'

function say (id, text, mood) {
  $(id).textContent = text
  $(id).className = mood || ''
}

function cell (row, content, className) {
  const td = row.insertCell()
  if (content instanceof Node) td.append(content); else { td.textContent = content; td.title = content }
  if (className) td.className = className
}

function draw (id, values, unit) {
  const most = Math.max(...values, 0.001)
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline')
  const step = 300 / (kept - 1)
  line.setAttribute('points', values.map((v, i) => (300 - (values.length - 1 - i) * step).toFixed(1) + ',' + (78 - 74 * v / most).toFixed(1)).join(' '))
  $(id + '-chart').replaceChildren(line)
  $(id + '-most').textContent = '· at most ' + unit(most)
}

function showStatus (s) {
  $('outbox').textContent = s.name + ' in ' + s.schema
  if (s.leader) say('leader', s.leader.holder + ' leads, epoch ' + s.epoch, 'good')
  else say('leader', 'nobody leads' + (s.known ? ', last epoch ' + s.epoch : ''), 'bad')
  say('lag', s.pending ? seconds(s.lag_seconds) : 'none', s.lag_seconds > 60 ? 'bad' : 'good')
  say('pending', (s.pending_about ? 'about ' : '') + number(s.pending))
  say('rate', number(s.rate_per_second) + ' /s')
  say('delivered', number(s.delivered))
  lags.push(s.lag_seconds)
  rates.push(s.rate_per_second)
  for (const list of [lags, rates]) if (list.length > kept) list.shift()
  draw('lag', lags, seconds)
  draw('rate', rates, (n) => number(n) + ' /s')
  $('ring').replaceChildren()
  for (const slot of s.ring) {
    const row = $('ring').insertRow()
    cell(row, slot.slot + (slot.current ? ' (now)' : ''))
    cell(row, number(slot.rows_about), 'n')
    cell(row, bytes(slot.bytes), 'n')
    cell(row, number(slot.settled_rows), 'n')
    cell(row, number(slot.last_seq), 'n')
  }
}

function showReplica (r) {
  say('flight', number(r.in_flight) + ' · ' + bytes(r.in_flight_bytes))
  say('postgres', r.postgres_up ? 'up' : 'away', r.postgres_up ? 'good' : 'bad')
  say('kafka', r.kafka_up ? 'up' : r.leading ? 'away' : 'not asked', r.kafka_up ? 'good' : r.leading ? 'bad' : '')
  say('books', r.audit_difference ? number(r.audit_difference) + ' differ' : 'no difference', r.audit_difference ? 'bad' : 'good')
  deliveredHere = r.delivered_by_topic
}

function showTopics (list) {
  $('topics').replaceChildren()
  for (const t of list) {
    const row = $('topics').insertRow()
    cell(row, t.topic)
    cell(row, number(deliveredHere[t.topic] || 0), 'n')
    for (const state of ['dead', 'held', 'behind', 'scheduled']) cell(row, number(t.parked[state] || 0), 'n' + (t.parked[state] && state !== 'scheduled' ? ' bad' : ''))
  }
}

function selection () {
  const s = {}
  for (const [name, value] of new FormData($('filter'))) if (value !== '') s[name] = value
  return s
}

async function showParked () {
  const list = await call('parked?' + new URLSearchParams({ ...selection(), limit: 100 }))
  $('matched').textContent = list.matched ? number(list.matched) + (list.matched === 1 ? ' event' : ' events') + (list.shown < list.matched ? ', the first ' + list.shown + ' are shown' : '') : 'nothing is parked that matches'
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.id : undefined
  $('events').replaceChildren()
  for (const e of list.events || []) {
    const row = $('events').insertRow()
    cell(row, e.state, e.state === 'dead' || e.state === 'held' ? 'bad' : '')
    cell(row, e.topic)
    cell(row, e.key === null ? 'none' : e.key)
    cell(row, e.reason)
    cell(row, e.created_at || '')
    const open = document.createElement('button')
    open.type = 'button'
    open.className = 'link'
    open.dataset.id = e.id
    open.textContent = e.id
    open.addEventListener('click', () => attempt(() => openEvent(e.id, e.seq)))
    cell(row, open)
    if (focused === e.id) open.focus()
  }
}

async function showReplays () {
  const { replays } = await call('replays')
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.replay : undefined
  $('replays').replaceChildren()
  for (const p of replays.slice(0, 20)) {
    const row = $('replays').insertRow()
    cell(row, p.replay)
    cell(row, p.state, p.state === 'running' ? 'warn' : p.state === 'done' ? 'good' : '')
    cell(row, (p.topic === null ? 'a repair' : p.topic) + (p.to_topic === null ? '' : ' → ' + p.to_topic))
    cell(row, p.key === null ? 'any' : p.key)
    cell(row, number(p.events), 'n')
    cell(row, number(p.queued), 'n')
    cell(row, number(p.waiting), 'n')
    cell(row, number(p.set_aside), 'n')
    cell(row, p.at)
    const actions = document.createElement('span')
    for (const verb of p.state === 'running' ? ['stop', 'resume'] : p.state === 'stopped' ? ['resume'] : []) {
      const button = document.createElement('button')
      button.type = 'button'
      button.className = 'link'
      button.dataset.replay = verb + p.replay
      button.textContent = verb
      button.setAttribute('aria-label', verb + ' replay ' + p.replay)
      button.disabled = !token
      button.addEventListener('click', () => attempt(() => turn(p.replay, verb)))
      actions.append(button, ' ')
    }
    cell(row, actions)
    for (const button of actions.children) if (button.dataset.replay === focused) button.focus()
  }
}

async function turn (no, verb) {
  await call('replays/' + no + '/' + verb, {})
  say('replay-outcome', verb === 'stop' ? 'Replay ' + no + ' is stopped; what was handed over is still published.' : 'Replay ' + no + ' goes on.')
  await showReplays()
}

async function replay () {
  const wish = {}
  for (const [name, value] of new FormData($('replay'))) if (value !== '') wish[name] = name === 'rate' ? Number(value) : value
  const plan = await call('replays', { ...wish, dry_run: true })
  const what = number(plan.events) + (plan.events === 1 ? ' event' : ' events')
  if (!plan.events) {
    say('replay-outcome', 'No delivered event that is still in the outbox matches.', 'warn')
    return
  }
  if (!await ask('Publish ' + what + ' again? Consumers see them a second time.')) return
  const made = await call('replays', wish)
  say('replay-outcome', made.replay ? 'Replay ' + made.replay.replay + ' has begun.' : 'Nothing matches any more.')
  await showReplays()
}

function payloadOf (e, hidden) {
  if (hidden) return 'hidden: set console.show_payloads = true to see payloads here'
  if (e.payload_omitted) return bytes(e.payload_length) + ', too large to show here: relay parked show ' + e.id
  if (e.payload !== null) return e.payload
  return e.payload_base64 ? 'base64: ' + e.payload_base64 : 'none, a tombstone'
}

async function openEvent (id, seq) {
  const found = await call('parked/' + encodeURIComponent(id))
  const e = found.events.find((one) => one.seq === seq) || found.events[0]
  shown = e
  $('facts').replaceChildren()
  for (const [name, value] of [['id', e.id], ['seq', e.seq], ['state', e.state], ['reason', e.reason], ['topic', e.topic], ['key', e.key], ['type', e.type], ['created', e.created_at], ['parked', e.parked_at], ['due', e.due_at], ['attempts', e.attempts]]) {
    const dt = document.createElement('dt')
    const dd = document.createElement('dd')
    dt.textContent = name
    dd.textContent = value === null || value === undefined ? 'none' : value
    $('facts').append(dt, dd)
  }
  $('headers').textContent = e.headers ? JSON.stringify(e.headers, null, 2) : 'none'
  $('payload').textContent = payloadOf(e, found.payloads_hidden)
  $('edit').reset()
  $('outcome').textContent = ''
  if (!$('event').open) $('event').showModal()
}

function ask (question, wantsToken) {
  $('question').textContent = question
  $('token-label').hidden = !wantsToken
  $('yes').textContent = wantsToken ? 'Unlock' : 'Yes'
  $('ask').returnValue = 'no'
  $('ask').showModal()
  return new Promise((resolve) => $('ask').addEventListener('close', () => resolve($('ask').returnValue === 'yes'), { once: true }))
}

async function unlock () {
  if (token) {
    token = ''
    sessionStorage.removeItem('token')
  } else if (await ask('The token of console.token_file:', true)) {
    token = $('token').value.trim()
    sessionStorage.setItem('token', token)
  }
  $('token').value = ''
  mark()
}

function mark () {
  $('unlock').textContent = token ? 'Lock' : 'Unlock changes'
  for (const id of ['retry', 'drop', 'retry-all', 'drop-all']) $(id).disabled = !token
  for (const one of [...$('edit').elements, $('replay-count')]) one.disabled = !token
}

async function act (verb, body) {
  const plan = await call('parked/' + verb, { ...body, dry_run: true })
  if (!plan.matched) throw new Error('nothing is parked any more that matches')
  const what = number(plan.matched) + (plan.matched === 1 ? ' event' : ' events')
  if (!await ask(verb === 'drop' ? 'Drop ' + what + '? They will never be delivered.' : 'Try ' + what + ' again?')) return
  await call('parked/' + verb, body)
  $('event').close()
  await refresh()
}

async function edit () {
  const change = { seq: shown.seq }
  for (const [name, value] of new FormData($('edit'))) if (value !== '') change[name] = name === 'headers' ? JSON.parse(value) : value
  await call('parked/' + encodeURIComponent(shown.id) + '/edit', change)
  await openEvent(shown.id, shown.seq)
  $('outcome').textContent = 'Saved; the relay tries it as it is now.'
}

async function attempt (work) {
  try {
    await work()
    $('trouble').hidden = true
  } catch (error) {
    $('trouble').textContent = error.message
    $('trouble').hidden = false
    if ($('event').open) $('outcome').textContent = error.message
  }
}

async function refresh () {
  await attempt(async () => {
    showReplica(await call('replica'))
    showStatus(await call('status'))
    showTopics(await call('topics'))
    await showParked()
    await showReplays()
  })
}

async function loop () {
  if (!document.hidden) await refresh()
  setTimeout(loop, every)
}

$('filter').addEventListener('submit', (e) => { e.preventDefault(); attempt(showParked) })
$('replay').addEventListener('submit', (e) => { e.preventDefault(); attempt(replay) })
$('edit').addEventListener('submit', (e) => { e.preventDefault(); attempt(edit) })
$('unlock').addEventListener('click', () => attempt(unlock))
$('close').addEventListener('click', () => $('event').close())
$('retry').addEventListener('click', () => attempt(() => act('retry', { ids: [shown.id] })))
$('drop').addEventListener('click', () => attempt(() => act('drop', { ids: [shown.id] })))
for (const verb of ['retry', 'drop']) {
  $(verb + '-all').addEventListener('click', () => attempt(() => {
    const s = selection()
    return act(verb, Object.keys(s).length ? s : { all: true })
  }))
}
mark()
loop()
