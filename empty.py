import tempfile,os
from oslo_config import cfg, types
opts=[cfg.IntOpt('i',default=5),cfg.IntOpt('im',default=5,min=1),cfg.PortOpt('port',default=5),cfg.BoolOpt('b',default=True),cfg.FloatOpt('f',default=1.5),cfg.ListOpt('l',default=['x']),cfg.DictOpt('d',default={'a':'b'}),cfg.StrOpt('s',default='def'),cfg.StrOpt('sc',default='def',choices=['def','x']),cfg.MultiStrOpt('m',default=['z']),cfg.HostAddressOpt('h',default='127.0.0.1'),cfg.URIOpt('u',default='http://x'),cfg.HostDomainOpt('hd',default='a'),cfg.IPOpt('ip',default='1.1.1.1')]
from oslo_config.cfg import MultiOpt
for text in ['',' ','""',"''"]:
    p=tempfile.mktemp(suffix='.conf'); 
    with open(p,'w') as fh:
        fh.write('[DEFAULT]\n')
        for o in opts: fh.write('%s =%s\n'%(o.name,text))
    c=cfg.ConfigOpts(); c.register_opts(opts); c(['--config-file',p],project='x')
    print(repr(text))
    for o in opts:
        try: print('  ',o.name,type(o.type).__name__,repr(getattr(c,o.dest)))
        except Exception as e: print('  ',o.name,type(o.type).__name__,'ERR',type(e).__name__,e)
